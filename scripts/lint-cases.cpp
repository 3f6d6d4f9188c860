// SPDX-License-Identifier: Apache-2.0
//
// Cases for `scripts/lint --self-test`; not compiled. It must find the lines marked `// expect`, and
// no others.

Future<void> conditions() {
  if (co_await ready()) f();                                  // expect
  if (!(a && co_await ready(1, 2))) f();                      // expect
  while (co_await ready()) f();                               // expect
  do f(); while (co_await ready());                           // expect
  switch (co_await number()) { default: f(); }                // expect
  if (x = co_await ready()) f();                              // expect
  if (object.member = co_await ready()) f();                  // expect
  if (a == co_await number()) f();                            // expect
  if (first) f(); else if (co_await ready()) f();             // expect
  if (a &&
      co_await ready()) {                                     // expect
    f();
  }
  for (; co_await ready();) f();                              // expect

  while (auto item = co_await queue.next()) f(*item);
  if (auto ok = co_await ready(); ok) f();
  if (const std::vector<int>& v = co_await list(); v.empty()) f();
  if (auto [a, b] = co_await both(); a == b) f();
  for (int i = co_await number(); i > 0; --i) f();
  bool ok = co_await ready();
  if (ok) co_await ready();
  if (!ok) { co_await ready(); }
  if (run([&] { return 1; })) co_await ready();
  if (co_await ready()) f();  // NOLINT(co_await)
  // if (co_await ready()) f();
  log("if (co_await ready())");
  /* while (co_await ready())
     if (co_await ready()) */
  text = R"(if (co_await ready()) f();
    if (co_await ready()) f();)";
  if (spawn([]() -> Future<void> { co_await ready(); })) f();
}

Future<void> lambdas() {
  co_await run([x] { f(x); });                                // expect
  co_await run(1, [=] { f(x); });                             // expect
  co_await run([x = std::move(x)]() mutable { f(x); });       // expect
  auto result = co_await with(
      [&a, b](int i) { return i; });                          // expect
  co_return co_await run([&, x] { f(x); });                   // expect
  co_await [x]() -> Future<void> { co_await f(x); }();        // expect
  g([x] { f(x); }, co_await ready());                         // expect
  co_await run(std::function<void()>([x] { f(x); }));         // expect
  co_await run({.callback = [x] { f(x); }});                  // expect
  for (auto f : co_await with([x] { return x; })) f();        // expect

  co_await run([] { f(); });
  co_await run([&] { f(x); });
  co_await run([&x, this] { f(x); });
  auto job = [x] { f(x); };
  co_await run(job);
  auto coroutine = [x]() -> Future<void> { co_await f(x); };
  loop.run_sync([x]() -> Future<void> { co_await f(x); });
  loop.run_sync([x]() -> Future<void> {
    auto y = co_await f(x);
    loop.add_callback([y] { f(y); });
    if (y) {
      loop.add_callback([y] { f(y); });
    }
    co_await ready();
  });
  auto& [first, second] = co_await both();
  values[index] = co_await number();
  co_await f(values[index], names["a"]);
  [[maybe_unused]] auto z = co_await number();
  std::vector<int> v{1, 2};
  co_await f(Options{1, 2});
  loop.add_callback([x] { f(x); });
  co_await run([x] { f(x); });  // NOLINT(co_await)
}

Future<void> choices() {
  co_await (a ? f() : g());                                   // expect
  auto x = co_await run(a ? std::string("a") : text);         // expect
  x = (a ? T{} : t) + co_await number();                      // expect
  co_await run(a ? 1 : 2);
  co_await run(f(a) ? b : c);
  const int n = co_await number() ? 1 : 2;
  auto chosen = a ? f() : g();
  co_await chosen;
  if (a ? f() : g()) co_await ready();
  run(a ? f() : g(), []() -> Future<void> { co_await ready(); });
}
