//! Rules of the source tree that no compiler checks: lengths, leftovers, module comments, titles.
//!
//! Everything that git tracks is looked at, and what it would track if asked to. The rules and
//! their reasons are in `spec/style.md`. The scanner itself is tested at the end, on small bad
//! pieces, so that each rule is known to be able to fail.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A source file longer than this is named, and nothing more.
const SOFT_FILE_LINES: usize = 500;
/// A source file may not be longer than this.
const HARD_FILE_LINES: usize = 800;
/// A function must be shorter than this, from its `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// A line of Rust may not be longer than this, in characters.
const LINE_COLUMNS: usize = 120;
/// What must not stay behind, and what to do instead. Spelled in two halves, because this file is
/// looked at too.
const LEFTOVERS: [(&str, &str); 4] = [
    (concat!("to", "do!"), "write it, or leave it out and say so in an issue"),
    (concat!("FIX", "ME"), "mend it, or open an issue"),
    (concat!("db", "g!"), "take it out; lasting output goes through a `Notice` or `tracing`"),
    (concat!("XX", "X"), "say what is wrong in words, or mend it"),
];
/// Folders in which every Rust file begins with a module comment.
const COMMENTED: [&str; 3] = ["core/src/", "runtime/src/", "spec/src/"];

#[test]
fn source_tree_is_tidy() {
    let files = tree();
    assert!(files.len() > 20, "only {} files found: is this a clone with git?", files.len());
    let mut faults = Vec::new();
    for (path, text) in &files {
        faults.extend(file_faults(path, text));
        if is_source(path) && text.lines().count() > SOFT_FILE_LINES {
            println!("{path}: {} lines, over the soft limit", text.lines().count());
        }
    }
    assert!(faults.is_empty(), "{}", report(&faults));
}

/// One broken rule at one place.
struct Fault {
    path: String,
    line: usize,
    what: String,
}

fn report(faults: &[Fault]) -> String {
    let mut text = format!("{} untidy places (rules: spec/style.md)\n", faults.len());
    for Fault { path, line, what } in faults {
        let _ = writeln!(text, "  {path}:{line}: {what}");
    }
    text
}

/// Every text file of the tree with its path from the top.
fn tree() -> Vec<(String, String)> {
    let top: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&top)
        .output()
        .expect("git is installed");
    let complaint = String::from_utf8_lossy(&listing.stderr);
    assert!(listing.status.success(), "git ls-files failed, this test needs a clone: {complaint}");
    let mut paths: Vec<&str> =
        listing.stdout.split(|byte| *byte == 0).filter_map(|p| str::from_utf8(p).ok()).collect();
    paths.sort_unstable();
    paths.dedup();
    // A file that was removed and not yet committed is listed and cannot be read; data that is not
    // text is not ours to judge.
    let read = |path: &str| Some((path.to_owned(), std::fs::read_to_string(top.join(path)).ok()?));
    paths.into_iter().filter(|path| !path.is_empty()).filter_map(read).collect()
}

fn extension(path: &str) -> &str {
    Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or("")
}

/// Whether people write and read this file as a program.
fn is_source(path: &str) -> bool {
    matches!(extension(path), "rs" | "py" | "mjs" | "sh")
        || path.starts_with(".ci/") && extension(path).is_empty()
}

fn file_faults(path: &str, text: &str) -> Vec<Fault> {
    let mut found: Vec<(usize, String)> = Vec::new();
    if is_source(path) || matches!(extension(path), "md" | "toml" | "txt") {
        found.extend(trailing_space(text));
    }
    if is_source(path) {
        let lines = text.lines().count();
        if lines > HARD_FILE_LINES {
            found.push((
                lines,
                format!("{lines} lines, at most {HARD_FILE_LINES}: split it by subject"),
            ));
        }
        found.extend(leftovers(text));
    }
    if extension(path) == "md" {
        found.extend(titles(text));
    }
    if extension(path) == "rs" {
        found.extend(rust_faults(path, text));
    }
    found.into_iter().map(|(line, what)| Fault { path: path.to_owned(), line, what }).collect()
}

fn rust_faults(path: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if path.ends_with("/mod.rs") {
        found.push((1, "a module's file bears its name; move it to `<module>.rs`".to_owned()));
    }
    if COMMENTED.iter().any(|folder| path.starts_with(folder)) && !text.starts_with("//! ") {
        found.push((1, "begin with a `//!` comment that says what the file is for".to_owned()));
    }
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS {
            found.push((index + 1, format!("{columns} columns, at most {LINE_COLUMNS}")));
        }
    }
    for function in functions(text).iter().filter(|function| function.lines >= FUNCTION_LINES) {
        let Function { name, line, lines } = function;
        found.push((
            *line,
            format!("fn {name} has {lines} lines, must have fewer than {FUNCTION_LINES}"),
        ));
    }
    found
}

fn trailing_space(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let ends_badly = |line: &str| line.ends_with([' ', '\t', '\r']);
    text.split('\n')
        .enumerate()
        .filter(move |(_, line)| ends_badly(line))
        .map(|(index, _)| (index + 1, "white space at the end of the line".to_owned()))
}

fn leftovers(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (word, instead) in LEFTOVERS {
            if line.match_indices(word).any(|(at, _)| stands_alone(line, at, word)) {
                found.push((index + 1, format!("leftover {word}: {instead}")));
            }
        }
    }
    found
}

/// Whether no letter, digit or underscore touches the word found at `at`.
fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let joins = |character: char| character.is_alphanumeric() || character == '_';
    let before = line.get(..at).and_then(|text| text.chars().next_back());
    let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
    // A macro's name ends with `!`, which may be followed by anything.
    !before.is_some_and(joins) && (word.ends_with('!') || !after.is_some_and(joins))
}

/// A Markdown document has one title, and begins with it.
fn titles(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.starts_with("# ") {
            lines.push(index + 1);
        }
    }
    match lines.as_slice() {
        [1] => Vec::new(),
        [line] => vec![(*line, "the title is the first line of a document".to_owned())],
        [] => vec![(1, "a document begins with a `# ` title".to_owned())],
        [_, others @ ..] => {
            others.iter().map(|line| (*line, "a second `# ` title; use `##`".to_owned())).collect()
        }
    }
}

/// A function as the scanner sees it.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Every function with a body in Rust source, by counting braces.
fn functions(text: &str) -> Vec<Function> {
    let code = blank(text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ").filter(|(at, _)| stands_alone(&code, *at, "fn")) {
        let rest = code.get(at + 3..).unwrap_or("");
        let name: String =
            rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$')).collect();
        let (Some(length), false) = (body_end(rest), name.is_empty()) else { continue };
        let body = rest.get(..length).unwrap_or("");
        let line = code.get(..at).map_or(0, |before| before.matches('\n').count()) + 1;
        found.push(Function { name, line, lines: body.matches('\n').count() + 1 });
    }
    found
}

/// Where the function whose signature `code` begins with ends; `None` if it has no body.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut braces) = (0_usize, 0_usize);
    for (index, character) in code.char_indices() {
        match character {
            '(' | '[' => round += 1,
            ')' | ']' => round = round.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return (braces == 1).then_some(index),
            '}' => braces -= 1,
            ';' if round == 0 && braces == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The source with comments and the insides of literals replaced by blanks, line by line the same.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_length(rest),
            '"' => string_length(rest),
            'r' | 'b' | 'c' if !after_name => raw_string_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        let (taken, blanked) =
            if skipped == 0 { (first.len_utf8(), false) } else { (skipped, true) };
        let (piece, left) = rest.split_at(taken);
        if blanked {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push_str(piece);
        }
        rest = left;
    }
    code
}

/// Length of the block comment that `text` begins with; they nest.
fn comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string literal that `text` begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string literal that `text` begins with, 0 if there is none.
fn raw_string_length(text: &str) -> usize {
    let marks = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let Some(marks) = marks.strip_prefix('r') else { return 0 };
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    let Some(inside) = marks.trim_start_matches('#').strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = text.len() - inside.len();
    inside.find(&end).map_or(text.len(), |at| opening + at + end.len())
}

/// Length of the character literal that `text` begins with, 0 if it is a lifetime.
fn character_length(text: &str) -> usize {
    let inside: Vec<(usize, char)> = text.char_indices().skip(1).take(12).collect();
    match inside.as_slice() {
        [(_, '\\'), _, rest @ ..] => {
            rest.iter().find(|(_, character)| *character == '\'').map_or(0, |(index, _)| index + 1)
        }
        [_, (index, '\''), ..] => index + 1,
        _ => 0,
    }
}

fn lines_of(faults: Vec<(usize, String)>) -> Vec<usize> {
    faults.into_iter().map(|(line, _)| line).collect()
}

fn whats(path: &str, text: &str) -> String {
    report(&file_faults(path, text))
}

#[test]
fn scanner_measures_functions() {
    let text = "fn a() {\n    if x { y }\n}\n\ntrait T {\n    fn b(&self, c: [u8; 3]);\n    fn d(&self) {}\n}\n";
    let measured: Vec<(String, usize, usize)> =
        functions(text).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(measured, [("a".to_owned(), 1, 3), ("d".to_owned(), 7, 1)]);
}

#[test]
fn scanner_is_not_led_astray_by_braces_in_literals_and_comments() {
    let literals = [
        "\"}\"",
        "\"\\\"}\"",
        "r\"}\"",
        "r#\"}\"}\"#",
        "br##\"}\"# }\"##",
        "b\"}\"",
        "'}'",
        "b'}'",
        "'\\''",
        "'\\u{7d}'",
        "/* } /* } */ } */ 0",
        "// }\n 0",
        "x::<'a>(0)",
    ];
    for literal in literals {
        let text = format!("fn a<'b>() {{\n let _ = {literal};\n}}\nfn z() {{}}\n");
        let lines = text.matches('\n').count() - 1;
        let expected = [
            Function { name: "a".to_owned(), line: 1, lines },
            Function { name: "z".to_owned(), line: lines + 1, lines: 1 },
        ];
        assert_eq!(functions(&text), expected, "with {literal}");
    }
    assert_eq!(functions("// fn a() {}\nconst X: &str = \"fn b() {}\";\ntype F = fn (u8);\n"), []);
}

#[test]
fn long_function_is_found() {
    let long =
        |lines: usize| format!("//! M.\nfn long() {{\n{}}}\n", "    f();\n".repeat(lines - 2));
    assert_eq!(whats("core/src/a.rs", &long(69)).matches("fn long").count(), 0);
    assert!(
        whats("core/tests/a.rs", &long(70)).contains("core/tests/a.rs:2: fn long has 70 lines")
    );
}

#[test]
fn long_file_and_long_line_are_found() {
    assert!(!whats("a/b.rs", &"x\n".repeat(800)).contains("split it"));
    assert!(whats("a/b.rs", &"x\n".repeat(801)).contains("801 lines"));
    assert!(whats("a/b.py", &"x\n".repeat(801)).contains("801 lines"));
    assert!(!whats("a/b.txt", &"x\n".repeat(801)).contains("801 lines"));
    assert!(whats("a/b.rs", &"x".repeat(121)).contains("121 columns"));
    assert!(!whats("a/b.rs", &"é".repeat(120)).contains("columns"));
}

#[test]
fn leftovers_are_found() {
    for (word, _) in LEFTOVERS {
        assert_eq!(lines_of(leftovers(&format!("a\n {word} (b)\n"))), [2], "{word}");
        assert_eq!(lines_of(leftovers(&format!("my_{word}"))), [] as [usize; 0], "{word}");
    }
}

#[test]
fn missing_module_comment_and_misplaced_module_are_found() {
    assert!(whats("core/src/a.rs", "use b;\n").contains("begin with a `//!`"));
    assert!(whats("runtime/src/a.rs", "// a\n").contains("begin with a `//!`"));
    assert!(!whats("core/src/a.rs", "//! A.\n").contains("core/src/a.rs:"));
    assert!(whats("core/src/a/mod.rs", "//! A.\n").contains("bears its name"));
}

#[test]
fn wrong_titles_are_found() {
    assert_eq!(lines_of(titles("# A\n\n## B\n```\n# in a fence\n```\n")), [] as [usize; 0]);
    assert_eq!(lines_of(titles("text\n")), [1]);
    assert_eq!(lines_of(titles("text\n# A\n")), [2]);
    assert_eq!(lines_of(titles("# A\n# B\n")), [2]);
}

#[test]
fn white_space_at_line_ends_is_found() {
    assert_eq!(lines_of(trailing_space("a\nb \nc\t\nd\r\n").collect()), [2, 3, 4]);
    assert!(whats("a.md", "# A \n").contains("a.md:1: white space"));
}
