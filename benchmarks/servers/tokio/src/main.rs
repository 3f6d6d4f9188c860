// SPDX-License-Identifier: Apache-2.0
//
// tokio on its current_thread scheduler, a task per connection, as the echo server of its
// documentation.
use std::{env, io};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut socket: TcpStream, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        socket.write_all(&buffer[..count]).await?;
    }
}

async fn echo_lines(socket: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = socket.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        writer.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}

fn argument(name: &str, otherwise: &str) -> String {
    let mut arguments = env::args().skip_while(|argument| argument != name);
    arguments.nth(1).unwrap_or(otherwise.to_string())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let lines = argument("--mode", "echo") == "lines";
    let size: usize = argument("--buffer", "4096").parse().expect("--buffer");
    let listener = TcpListener::bind(format!("127.0.0.1:{}", argument("--port", "0"))).await?;
    println!("Listening on {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        if lines {
            tokio::spawn(echo_lines(socket));
        } else {
            tokio::spawn(echo(socket, size));
        }
    }
}
