// SPDX-License-Identifier: Apache-2.0
//
// Go: a goroutine per connection, as in the documentation of package net. Run it with GOMAXPROCS=1.
// (io.Copy from a connection to itself would go through splice and a pipe, and be slower.)
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net"
)

func echo(conn net.Conn, size int) {
	defer conn.Close()
	buffer := make([]byte, size)
	for {
		count, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func echoLines(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return
		}
		if _, err := conn.Write(line); err != nil {
			return
		}
	}
}

func main() {
	port := flag.Int("port", 0, "0: one that is free")
	mode := flag.String("mode", "echo", "echo or lines")
	size := flag.Int("buffer", 4096, "bytes of each connection's buffer")
	flag.Parse()

	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Listening on", listener.Addr())
	for {
		conn, err := listener.Accept() // TCP_NODELAY is Go's default
		if err != nil {
			log.Fatal(err)
		}
		if *mode == "lines" {
			go echoLines(conn)
		} else {
			go echo(conn, *size)
		}
	}
}
