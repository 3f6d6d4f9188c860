# SPDX-License-Identifier: Apache-2.0
#
# The co_await rules of scripts/lint. Each file becomes a list of tokens, without comments, literals
# and preprocessor lines; `for (...; ...)` and the like are seen as one condition, and a lambda's body
# is examined apart from the expression that contains it.

FNR == 1 {
  if (NR > 1) examine()
  file = FILENAME
  markdown = file ~ /[.]md$/
  in_code = !markdown
  in_comment = 0
  raw_end = ""
  continued = 0
  n = 0
  delete allowed
}

markdown && /^ *```/ {
  in_code = /^ *``` *(cpp|c[+][+])/ && !in_code
  if (in_code) { token(";") } # what one block leaves open does not reach into the next
  next
}

in_code {
  if (/[/][/] *NOLINT[(]co_await[)]/ || (markdown && /[/][/] *wrong/)) allowed[FNR] = 1
  if (continued || (!in_comment && raw_end == "" && /^[ \t]*#/)) {
    continued = /\\$/
    next
  }
  split_line($0)
}

END {
  if (NR > 0) examine()
  exit found > 0
}

function token(text) {
  tok[++n] = text
  line[n] = FNR
}

function split_line(s,    at) {
  while (s != "") {
    if (in_comment) {
      at = index(s, "*/")
      if (!at) return
      in_comment = 0
      s = substr(s, at + 2)
    } else if (raw_end != "") {
      at = index(s, raw_end)
      if (!at) return
      s = substr(s, at + length(raw_end))
      raw_end = ""
    } else if (match(s, /^[ \t\r]+/)) {
      s = substr(s, RLENGTH + 1)
    } else if (s ~ /^[/][/]/) {
      return
    } else if (s ~ /^[/][*]/) {
      in_comment = 1
      s = substr(s, 3)
    } else if (match(s, /^(u8|u|U|L)?R"[^(]*[(]/)) {
      raw_end = substr(s, 1, RLENGTH - 1)
      sub(/^[^"]*"/, "", raw_end)
      raw_end = ")" raw_end "\""
      s = substr(s, RLENGTH + 1)
      token("0")
    } else if (match(s, /^"([^"\\]|\\.)*"/) || match(s, /^'([^'\\]|\\.)*'/) ||
               match(s, /^[0-9][0-9a-zA-Z_.']*/)) {
      s = substr(s, RLENGTH + 1)
      token("0")
    } else if (match(s, /^[A-Za-z_][A-Za-z_0-9]*/) ||
               match(s, /^(->|::|&&|[|][|]|<=|>=|[=!<>+*%&|^/-]=)/)) {
      token(substr(s, 1, RLENGTH))
      s = substr(s, RLENGTH + 1)
    } else {
      token(substr(s, 1, 1))
      s = substr(s, 2)
    }
  }
}

function report(where, what) {
  if (allowed[where]) return
  print file ":" where ": " what
  found++
}

function is_name(t) { return t ~ /^[A-Za-z_]/ && t !~ /^(return|co_return|co_await|co_yield|case)$/ }

# The partner of the bracket at `i`; n + 1 if there is none.
function partner(i,    depth, j) {
  depth = 0
  for (j = i; j <= n; j++) {
    if (tok[j] ~ /^[([{]$/) depth++
    else if (tok[j] ~ /^[])}]$/ && --depth == 0) return j
  }
  return n + 1
}

# Does the condition between `open` and `last` declare a variable?
function declares(open, last,    j) {
  for (j = open + 1; j < last; j++) {
    if (tok[j] ~ /^[({]$/) j = partner(j)
    else if (tok[j] == ":" && tok[open - 1] == "for") return 1
    else if (tok[j] == "=") {
      return (tok[j - 1] == "]" || is_name(tok[j - 1]) && (is_name(tok[j - 2]) || tok[j - 2] ~ /^([>*&]|&&)$/))
    }
  }
  return 0
}

# Is the bracket at `i` a lambda's, and not a subscript, an attribute or a structured binding?
function starts_lambda(i,    before) {
  before = tok[i - 1]
  if (tok[i + 1] == "[" || before == "[" || before == ")" || before == "]") return 0
  if (before ~ /^(&|&&)$/ && tok[i - 2] == "auto") return 0
  return !is_name(before)
}

# Does the lambda at `i` capture by value (other than `this`, a plain pointer)?
function captures_values(i,    last, j, first) {
  last = partner(i)
  first = 1
  for (j = i + 1; j < last; j++) {
    if (first && tok[j] != "&" && tok[j] != "this") return 1
    first = tok[j] == ","
    if (tok[j] ~ /^[([{]$/) j = partner(j)
  }
  return 0
}

# A block, if it holds a statement; else the braces of an initialiser (or nothing of interest).
function is_block(i,    last, j) {
  last = partner(i)
  if (last == i + 1) return tok[i - 1] == ")"
  for (j = i + 1; j < last; j++) {
    if (tok[j] == ";") return 1
    if (tok[j] ~ /^[([{]$/) j = partner(j)
  }
  return 0
}

function check_condition(i,    open, last, j) {
  open = i + 1
  if (tok[open] == "constexpr") open++
  if (tok[open] != "(") return
  last = partner(open)
  for (j = open + 1; j < last; j++) {
    if (tok[j] == "{") j = partner(j)
    else if (tok[j] == "co_await") {
      if (!declares(open, last)) {
        report(line[j], "co_await in the condition of " tok[i] ", which declares no variable: gcc 12.2 may break the frame; await into a variable first")
      }
      return
    }
  }
}

# The full expression that is open at this nesting of blocks ends.
function end_statement(    i) {
  if (awaits[level]) {
    for (i = 1; i <= lambdas[level]; i++) {
      report(lambda[level, i], "a lambda that captures by value in the same expression as co_await: gcc 12.2 destroys it twice; name it first")
    }
    if (choice_calls[level]) {
      report(choice_calls[level], "?: that makes temporaries in the same expression as co_await: gcc 12.2 evaluates both; choose first")
    }
  }
  awaits[level] = 0
  lambdas[level] = 0
  choice[level] = 0
  choice_calls[level] = 0
}

function start_statement() {
  awaits[level] = 0
  lambdas[level] = 0
  choice[level] = 0       # line of a ?
  choice_calls[level] = 0 # the same when a call or braces follow it
  depth[level] = 0 # of open brackets
  body_at[level] = -1
  head[level] = 0 # in the parentheses of an if, while, for or switch
}

function examine(    i, t) {
  level = 0
  start_statement()
  for (i = 1; i <= n; i++) {
    t = tok[i]
    if (t == "?") {
      choice[level] = line[i]
    } else if (choice[level] && (t == "(" && is_name(tok[i - 1]) || t == "{")) {
      choice_calls[level] = choice[level]
    }
    if (t ~ /^(if|while|for|switch)$/) {
      check_condition(i)
      if (depth[level] == 0) head[level] = 1
    } else if (t == "co_await" || t == "co_yield") {
      awaits[level] = 1
    } else if (t == "[" && starts_lambda(i)) {
      if (captures_values(i)) lambda[level, ++lambdas[level]] = line[i]
      body_at[level] = depth[level] # the next { at this depth opens its body
      i = partner(i)
    } else if (t == "(" || t == "[") {
      depth[level]++
    } else if (t == ")" || t == "]") {
      if (--depth[level] == 0 && head[level]) {
        end_statement()
        start_statement()
      }
    } else if (t == "{") {
      if (body_at[level] == depth[level]) {
        body_at[level] = -1
        is_lambda[++level] = 1
        start_statement()
      } else if (is_block(i)) {
        if (depth[level] == 0) {
          end_statement()
          start_statement()
        }
        is_lambda[++level] = 0
        start_statement()
      } else {
        depth[level]++
        initialiser[level, depth[level]] = 1
      }
    } else if (t == "}") {
      if (initialiser[level, depth[level]]) {
        initialiser[level, depth[level]--] = 0
      } else if (level > 0) {
        end_statement()
        level--
        if (!is_lambda[level + 1] && depth[level] == 0) start_statement()
      }
    } else if (t == ";") {
      end_statement()
      if (depth[level] == 0) start_statement() # else in the head of a for
    }
  }
  end_statement()
}
