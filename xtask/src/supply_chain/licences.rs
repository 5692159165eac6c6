//! Licence expressions: SPDX's `AND`, `OR`, `WITH` and parentheses, and the old `/` for `OR`.

use anyhow::{bail, ensure};

/// Deepest nesting of parentheses that is read.
const DEPTH_MAX: usize = 16;

/// Whether what the expression asks for can be met with allowed licences alone.
pub(super) fn is_allowed(expression: &str, allowed: &[String]) -> anyhow::Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed, depth: 0 };
    let met = reader.either()?;
    ensure!(reader.words.is_empty(), "something is left after the expression");
    Ok(met)
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
    depth: usize,
}

impl Reader<'_> {
    fn take(&mut self, expected: &str) -> bool {
        let found = self.words.first() == Some(&expected);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    /// Terms with `OR` between them, which binds less than `AND`.
    fn either(&mut self) -> anyhow::Result<bool> {
        let mut met = self.both()?;
        while self.take("OR") {
            met |= self.both()?;
        }
        Ok(met)
    }

    fn both(&mut self) -> anyhow::Result<bool> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Ok(met)
    }

    fn one(&mut self) -> anyhow::Result<bool> {
        if self.take("(") {
            self.depth += 1;
            ensure!(self.depth <= DEPTH_MAX, "more than {DEPTH_MAX} parentheses are open");
            let met = self.either()?;
            self.depth -= 1;
            ensure!(self.take(")"), "a parenthesis is not closed");
            return Ok(met);
        }
        let Some((name, rest)) = self.words.split_first() else { bail!("a licence is missing") };
        ensure!(!["AND", "OR", "WITH", ")"].contains(name), "a licence is missing before {name}");
        self.words = rest;
        let mut licence = (*name).to_owned();
        if self.take("WITH") {
            let Some((exception, rest)) = self.words.split_first() else {
                bail!("an exception is missing")
            };
            licence = format!("{licence} WITH {exception}");
            self.words = rest;
        }
        Ok(self.allowed.contains(&licence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_or_not() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("MIT/Apache-2.0", true),
            ("Apache-2.0 / MIT", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("ISC AND (GPL-3.0-only OR MIT)", true),
            ("GPL-3.0-only OR ISC AND MIT", true),
            ("(GPL-3.0-only OR ISC) AND GPL-3.0-only", false),
        ] {
            assert_eq!(
                is_allowed(expression, &allowed).expect(expression),
                expected,
                "{expression}"
            );
        }
        let deep = format!("{}MIT{}", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1));
        for wrong in ["", "MIT AND", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", &deep] {
            assert!(is_allowed(wrong, &allowed).is_err(), "{wrong}");
        }
    }
}
