//! Rust source as text, without what is not code and without what is only compiled for tests.
//!
//! This is a scanner, not a parser: good enough to keep honest people honest, and quick to read. What it blanks it
//! replaces by spaces, so that positions and line numbers stay.

use std::{ops::Range, path::Path};

/// Blanks comments, strings and character literals.
pub(crate) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            blank(&mut code, at..end);
            at = end;
        } else if is_name(bytes[at]) {
            while at < bytes.len() && is_name(bytes[at]) {
                at += 1;
            }
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Blanks the items under `#[cfg(test)]` in what [`code_only`] gave; names the modules among them that lie in files of
/// their own.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut rest = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    if code.contains("#![cfg(test)]") {
        blank(&mut rest, 0..code.len());
    }
    for marker in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(marker) {
            let end = item_end(code.as_bytes(), start);
            let item = code[start..end].trim_end();
            if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
                modules.push(name.1.trim().to_owned());
            }
            blank(&mut rest, start..end);
        }
    }
    (String::from_utf8_lossy(&rest).into_owned(), modules)
}

/// Where `word` stands in `code` as a whole word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|i| bytes.get(i)).is_some_and(|b| is_name(*b));
        let after = bytes.get(at + word.len()).is_some_and(|b| is_name(*b));
        !before && !after
    })
}

/// The modules of the standard library that `code` names: `std::fs` as well as `std::{fs, io}`, with their places.
pub(crate) fn std_modules(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for at in words(code, "std") {
        let Some(path) = code[at + 3..].strip_prefix("::") else { continue };
        if path.starts_with('{') {
            found.extend(group_members(path).map(|member| (at, member)));
        } else {
            found.push((at, first_name(path)));
        }
    }
    found
}

/// The line of a position, from 1.
pub(crate) fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Whether `path` is the file of a test module, or lies in its folder, when the file `parent` declares `module`.
pub(crate) fn is_of_module(path: &Path, parent: &Path, module: &str) -> bool {
    let Some(folder) = parent.parent() else { return false };
    let stem = parent.file_stem().unwrap_or_default();
    let folder =
        if stem == "lib" || stem == "main" { folder.to_owned() } else { folder.join(stem) };
    path == folder.join(module).with_extension("rs") || path.starts_with(folder.join(module))
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn first_name(text: &str) -> &str {
    let end = text.bytes().position(|byte| !is_name(byte)).unwrap_or(text.len());
    &text[..end]
}

fn blank(code: &mut [u8], range: Range<usize>) {
    for byte in &mut code[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// The first names of the members of a group in braces that `text` begins with.
fn group_members(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let mut starts = Vec::new();
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                depth += 1;
                if depth == 1 {
                    starts.push(i + 1);
                }
            }
            b'}' => depth -= 1,
            b',' if depth == 1 => starts.push(i + 1),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    starts.into_iter().map(|start| first_name(text[start..].trim_start()))
}

/// Where the comment, string or character literal that begins at `at` ends; `at` itself when none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |length| at + length);
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(bytes, at);
    }
    let prefix = rest.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count().min(2);
    let after = &rest[prefix..];
    let is_raw = rest[..prefix].contains(&b'r');
    match after.first() {
        Some(b'"') if is_raw => raw_string_end(bytes, at + prefix),
        Some(b'#') if is_raw && after.iter().find(|byte| **byte != b'#') == Some(&b'"') => {
            raw_string_end(bytes, at + prefix)
        }
        Some(b'"') => quoted_end(bytes, at + prefix, b'"'),
        Some(b'\'') if prefix == 0 || rest[..prefix] == *b"b" => char_end(bytes, at + prefix),
        _ => at,
    }
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i < bytes.len() {
        match bytes.get(i..i + 2) {
            Some(b"/*") => {
                depth += 1;
                i += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    bytes.len()
}

/// The end of a raw string whose hashes or quote begin at `at`.
fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = at + hashes + 1;
    let found = bytes[body..].windows(close.len()).position(|window| window == close);
    found.map_or(bytes.len(), |length| body + length + close.len())
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            byte if byte == quote => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// The end of a character literal at `at`; `at` itself when the quote begins a lifetime.
fn char_end(bytes: &[u8], at: usize) -> usize {
    let Some(first) = bytes.get(at + 1) else { return at };
    if *first == b'\\' {
        return quoted_end(bytes, at, b'\'');
    }
    // A character has at most four bytes; a lifetime has no closing quote right behind its first one.
    let width = match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    };
    if bytes.get(at + 1 + width) == Some(&b'\'') { at + 2 + width } else { at }
}

/// The end of the item whose first attribute begins at `at`.
fn item_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i < bytes.len() {
        match bytes[i] {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            b';' if depth == 0 => return i + 1,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_no_code() {
        for (text, expected) in [
            ("a // std::fs\nb", "a           \nb"),
            ("a /* x /* y */ z */ b", "a                   b"),
            (r#"f("a \" b") c"#, "f(        ) c"),
            (r##"f(r#"a " b"#) c"##, "f(          ) c"),
            (r#"f(b"a") br"x" c"#, "f(    )       c"),
            ("f('\"', '\\'', 'a') 'x: loop", "f(   ,     ,    ) 'x: loop"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("crab\"x\"", "crab   "),
        ] {
            assert_eq!(code_only(text), expected, "{text}");
        }
    }

    #[test]
    fn test_items_are_left_out() {
        let code = "use a;\n#[cfg(test)]\nmod tests { fn f() { std::fs::read() } }\nfn g() {}\n#[cfg(test)] mod more;";
        let (rest, modules) = without_tests(code);
        assert!(!rest.contains("std::fs") && rest.contains("fn g() {}"), "{rest}");
        assert_eq!(modules, ["more"]);
        assert_eq!(rest.len(), code.len());
    }

    #[test]
    fn modules_of_the_standard_library_are_found_in_groups() {
        let code = "use std::{collections::{BTreeMap, fs}, io, thread::Builder};\nstd::env::var(x); mystd::net";
        let names: Vec<&str> = std_modules(code).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["collections", "io", "thread", "env"]);
        assert_eq!(line(code, std_modules(code)[3].0), 2);
    }

    #[test]
    fn a_test_module_is_a_file_or_a_folder() {
        let parent = Path::new("src/pool.rs");
        for (path, module, expected) in [
            ("src/pool/tests.rs", "tests", true),
            ("src/pool/tests/more.rs", "tests", true),
            ("src/pool/other.rs", "tests", false),
            ("src/tests.rs", "tests", false),
        ] {
            assert_eq!(is_of_module(Path::new(path), parent, module), expected, "{path}");
        }
        assert!(is_of_module(Path::new("src/tests.rs"), Path::new("src/lib.rs"), "tests"));
    }
}
