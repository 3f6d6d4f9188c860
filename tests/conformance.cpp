// SPDX-License-Identifier: Apache-2.0
//
// Checks conformance.csv, which says for each of Tornado's own tests what became of it here.
//
//     conformance MASTER.csv CONFORMANCE.csv TEST_SOURCE_DIR TEST_EXECUTABLE...
//
// MASTER.csv lists Tornado's tests (module, class, test, then ignored columns); CONFORMANCE.csv has
// the columns module,class,test,status,case,reason:
//
//     ported  `case` is the name of a doctest case. An executable has to list it, and above its
//             TEST_CASE in the sources there has to be `// Python: MODULE_test.CLASS.TEST`. When
//             several rows name the same case, each needs a reason.
//     later   not ported yet; `case` is empty.
//     n/a     will not be ported; `case` is empty, `reason` is not.
//
// Prints every violation, with its line, and a count per status. Fields may be quoted as usual.

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Row = std::vector<std::string>;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

// One record per line; "" within a quoted field is a quote.
std::vector<Row> read_csv(const std::filesystem::path& path) {
  std::vector<Row> rows;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    Row row(1);
    bool quoted = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
        row.back() += line[++i];
      } else if (line[i] == '"') {
        quoted = !quoted;
      } else if (line[i] == ',' && !quoted) {
        row.emplace_back();
      } else {
        row.back() += line[i];
      }
    }
    if (quoted) throw std::runtime_error(path.string() + ": a quote does not end: " + line);
    rows.push_back(row);
  }
  return rows;
}

// "ioloop,TestIOLoop,test_x" becomes ioloop_test.TestIOLoop.test_x.
std::string python_name(const Row& row) { return row[0] + "_test." + row[1] + "." + row[2]; }

// The names that `executable` lists, between the two lines of "===".
void list_cases(const std::string& executable, std::set<std::string>& cases) {
#ifdef _WIN32
  std::FILE* pipe = _popen(("\"" + executable + "\" --list-test-cases").c_str(), "r");
#else
  std::FILE* pipe = popen(("'" + executable + "' --list-test-cases").c_str(), "r");
#endif
  if (pipe == nullptr) throw std::runtime_error("cannot run " + executable);
  std::string output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
#ifdef _WIN32
  const int status = _pclose(pipe);
#else
  const int status = pclose(pipe);
#endif
  if (status != 0) throw std::runtime_error(executable + " --list-test-cases failed");

  std::istringstream in(output);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.starts_with("[doctest] ") && !line.starts_with("=====")) cases.insert(line);
  }
}

// The string literal at or behind `pos`, adjacent ones joined: what TEST_CASE( is followed by.
std::string literal_at(std::string_view text, std::size_t pos) {
  std::string result;
  while (pos < text.size() && (std::isspace(static_cast<unsigned char>(text[pos])) != 0)) ++pos;
  while (pos < text.size() && text[pos] == '"') {
    for (++pos; pos < text.size() && text[pos] != '"'; ++pos) {
      if (text[pos] == '\\') ++pos;
      result += text[pos];
    }
    ++pos;
    while (pos < text.size() && (std::isspace(static_cast<unsigned char>(text[pos])) != 0)) ++pos;
  }
  return result;
}

// Adds to `ports`, for each `// Python: NAME` in `path`, the case in front of which it stands.
void read_ports(const std::filesystem::path& path,
                std::map<std::string, std::set<std::string>>& ports) {
  constexpr std::string_view kMark = "// Python: ";
  constexpr std::string_view kCase = "TEST_CASE";  // also the end of other macros' names
  const std::string text = read_file(path);
  std::vector<std::string> waiting;
  for (std::size_t line = 0; line < text.size();) {
    const std::size_t end = std::min(text.find('\n', line), text.size());
    const std::string_view content = std::string_view(text).substr(line, end - line);
    const std::size_t start = std::min(content.find_first_not_of(' '), content.size());
    if (content.substr(start).starts_with(kMark)) {
      const std::string_view name = content.substr(start + kMark.size());
      const std::string_view word = name.substr(0, name.find_first_of(" \r"));
      // Other remarks on Python begin so, too.
      if (std::count(word.begin(), word.end(), '.') == 2) waiting.emplace_back(word);
    } else if (const auto at = content.find(kCase); at != content.npos) {
      const std::size_t open = text.find('(', line + at);
      if (open != text.npos) {
        const std::string name = literal_at(text, open + 1);
        for (const std::string& python : waiting) ports[python].insert(name);
      }
      waiting.clear();
    }
    line = end + 1;
  }
  for (const std::string& python : waiting) ports[python];  // in front of nothing
}

int check(int argc, char** argv) {
  const std::vector<Row> master = read_csv(argv[1]);
  const std::vector<Row> table = read_csv(argv[2]);
  std::map<std::string, std::set<std::string>> ports;
  for (const auto& entry : std::filesystem::directory_iterator(argv[3])) {
    if (entry.path().filename().string().ends_with("_test.cpp")) read_ports(entry.path(), ports);
  }
  std::set<std::string> cases;
  for (int i = 4; i < argc; ++i) list_cases(argv[i], cases);

  int errors = 0;
  const auto error = [&](std::size_t line, const std::string& what) {
    std::cout << argv[2] << ":" << line << ": " << what << "\n";
    ++errors;
  };

  if (table.empty() || table[0] != Row{"module", "class", "test", "status", "case", "reason"}) {
    error(1, "the first line must be module,class,test,status,case,reason");
    return 1;
  }
  std::set<std::string> wanted;
  for (std::size_t i = 1; i < master.size(); ++i) wanted.insert(python_name(master[i]));
  std::map<std::string, int> uses;  // of a case, by rows
  for (const Row& row : table) {
    if (row.size() == 6 && row[3] == "ported") ++uses[row[4]];
  }

  std::map<std::string, int> count;  // of rows, by status
  std::set<std::string> seen;
  std::set<std::string> ported;
  for (std::size_t i = 1; i < table.size(); ++i) {
    const Row& row = table[i];
    const std::size_t line = i + 1;
    if (row.size() != 6) {
      error(line, "has " + std::to_string(row.size()) + " fields instead of 6");
      continue;
    }
    const std::string python = python_name(row);
    const std::string& status = row[3];
    const std::string& name = row[4];
    const std::string& reason = row[5];
    if (!seen.insert(python).second) error(line, python + " is here twice");
    if (!wanted.contains(python)) error(line, python + " is not one of Tornado's tests");
    ++count[status];

    if (status == "ported") {
      ported.insert(python);
      if (!cases.contains(name)) {
        error(line, "no test executable has the case \"" + name + "\"");
      } else if (!ports[python].contains(name)) {
        error(line, "the case \"" + name + "\" has no `// Python: " + python + "` above it");
      }
      if (uses[name] > 1 && reason.empty()) {
        error(line, "the case \"" + name + "\" stands for several rows: give a reason in each");
      }
    } else if (status == "later" || status == "n/a") {
      if (!name.empty()) error(line, "only a ported test names a case");
      if (status == "n/a" && reason.empty()) error(line, "n/a needs a reason");
    } else {
      error(line, "the status is \"" + status + "\" instead of ported, later or n/a");
    }
  }
  for (const std::string& python : wanted) {
    if (!seen.contains(python)) error(table.size(), python + " is missing");
  }
  for (const auto& [python, names] : ports) {
    if (names.empty() && !ported.contains(python)) {
      error(table.size(), "`// Python: " + python + "` stands above no test case");
    } else if (!ported.contains(python)) {
      error(table.size(), "the sources port " + python + ", which is not marked as ported");
    }
  }

  std::cout << count["ported"] << " ported, " << count["later"] << " later, " << count["n/a"]
            << " n/a; " << errors << " errors\n";
  return errors == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::cout << "usage: conformance MASTER.csv CONFORMANCE.csv TEST_SOURCE_DIR EXECUTABLE...\n";
    return 2;
  }
  try {
    return check(argc, argv);
  } catch (const std::exception& e) {
    std::cout << "conformance: " << e.what() << "\n";
    return 2;
  }
}
