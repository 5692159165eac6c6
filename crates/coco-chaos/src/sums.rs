//! What all recorded runs come to: the figures that the book has, so that nobody adds them up by hand.
//!
//! Runs of nodes that come back in different ways, and of different builds, are different evidence, and are never added.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};

use crate::report::{HEADER, percentile};

/// The figures of the lines of `csv`, as a table and a sentence of Markdown.
///
/// # Errors
/// The line that is not one of those that are appended.
pub(crate) fn text(csv: &str) -> anyhow::Result<String> {
    let mut lines = csv.lines();
    ensure!(lines.next() == Some(HEADER), "other columns than {HEADER}");
    let mut cases: BTreeMap<(&str, &str), Sum> = BTreeMap::new();
    let (mut cuts, mut makings, mut tails) = (Sum::default(), Sum::default(), Sum::default());
    for line in lines {
        let line = Line::parse(line).with_context(|| format!("not a line of a run: {line}"))?;
        let sum = match Kind::of(line.case) {
            Kind::Case => cases.entry((line.restart, line.build)).or_default(),
            Kind::Cuts => &mut cuts,
            Kind::Makings => &mut makings,
            Kind::Tails => &mut tails,
        };
        sum.add(line);
    }
    let mut text = "| nodes come back | build | cases | not passed | writes acknowledged | lost | outages | median | p99 | longest |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for ((restart, build), sum) in cases {
        text.push_str(&sum.row(restart, build));
    }
    text.push_str(&format!(
        "\nThe matrix: {} cuts, {} writes acknowledged and {} lost; {} cuts of the making of a network; {} damages to files.\n\
         Of its {} parts {} did not pass.\n",
        grouped(cuts.tried),
        grouped(cuts.acknowledged),
        grouped(cuts.lost),
        grouped(makings.tried),
        grouped(tails.tried),
        cuts.runs + makings.runs + tails.runs,
        cuts.not_passed + makings.not_passed + tails.not_passed,
    ));
    Ok(text)
}

/// What a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Case,
    /// Power cuts of a node that runs.
    Cuts,
    /// Power cuts while a network is made.
    Makings,
    /// Damaged ends of files.
    Tails,
}

impl Kind {
    fn of(case: &str) -> Self {
        match case.strip_prefix("matrix-") {
            None => Self::Case,
            Some("tails") => Self::Tails,
            Some(part) if part.starts_with("making-") => Self::Makings,
            Some(_) => Self::Cuts,
        }
    }
}

/// What is added up of a line.
#[derive(Debug)]
struct Line<'a> {
    build: &'a str,
    case: &'a str,
    restart: &'a str,
    /// The number that its choices begin with: of a part of the matrix, how often it struck.
    tried: usize,
    acknowledged: usize,
    lost: usize,
    outages: Vec<Duration>,
    has_passed: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let names: Vec<&str> = HEADER.split(',').collect();
        ensure!(fields.len() == names.len(), "{} fields of {}", fields.len(), names.len());
        let field = |name: &str| {
            let found = names.iter().position(|one| *one == name);
            found.and_then(|at| fields.get(at)).copied().with_context(|| format!("no {name}"))
        };
        let number = |name: &str| -> anyhow::Result<usize> {
            field(name)?.parse().with_context(|| format!("{name} is no number"))
        };
        let outages = field("outages_ms")?.split_whitespace().map(|ms| {
            let ms = ms.parse().with_context(|| format!("an outage of {ms}"))?;
            Ok(Duration::from_millis(ms))
        });
        let tried = field("choices")?.split(' ').next().unwrap_or_default();
        Ok(Self {
            build: field("build")?,
            case: field("case")?,
            restart: field("restart")?,
            tried: tried.parse().unwrap_or_default(),
            acknowledged: number("acknowledged")?,
            lost: number("lost")?,
            outages: outages.collect::<anyhow::Result<_>>()?,
            has_passed: field("verdict")? == "passed",
        })
    }
}

#[derive(Debug, Default)]
struct Sum {
    runs: usize,
    not_passed: usize,
    tried: usize,
    acknowledged: usize,
    lost: usize,
    outages: Vec<Duration>,
}

impl Sum {
    fn add(&mut self, line: Line<'_>) {
        self.runs += 1;
        self.not_passed += usize::from(!line.has_passed);
        self.tried += line.tried;
        self.acknowledged += line.acknowledged;
        self.lost += line.lost;
        self.outages.extend(line.outages);
    }

    fn row(mut self, restart: &str, build: &str) -> String {
        self.outages.sort();
        let at = |percent| match percentile(&self.outages, percent) {
            Some(time) => format!("{} ms", grouped(time.as_millis())),
            None => String::new(),
        };
        format!(
            "| {} | {build} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            if restart.is_empty() { "unknown".to_owned() } else { format!("`{restart}`") },
            grouped(self.runs),
            grouped(self.not_passed),
            grouped(self.acknowledged),
            grouped(self.lost),
            grouped(self.outages.len()),
            at(50),
            at(99),
            at(100),
        )
    }
}

/// A number with commas between its thousands.
fn grouped(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const LINES: &str = "\
2026-11-27,a,debug,kill-primary,rejoin,1,,100,10,10,0,5,0,600,700,9.0,passed
2026-11-27,a,debug,rejoin-rolling,rejoin,2,,100,1000,1000,0,5,0,500 1500,700,9.0,passed
2026-11-27,a,debug,partition-bridge,rejoin,3,12 ms,100,20,20,0,5,2,,700,9.0,failed
2026-11-27,a,release,kill-all,from_disk,4,,100,7,7,0,5,0,,700,9.0,void
2026-11-27,a,debug,matrix-ext4,from_disk,5,150 cuts; append: 7,,4000,4000,0,5,1,,0,9.0,passed
2026-11-27,a,debug,matrix-making-xfs,from_disk,6,30 cuts; x: 7,,0,0,0,0,0,,0,9.0,failed
2026-11-27,a,debug,matrix-tails,from_disk,7,17730 damages to 4 files: 1 time,,0,0,0,0,0,,0,9.0,passed
";

    #[test]
    fn ways_and_builds_are_not_added() -> anyhow::Result<()> {
        let text = text(&format!("{HEADER}\n{LINES}"))?;
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `from_disk` | release | 1 | 1 | 7 | 0 | 0 |  |  |  |",
                "| `rejoin` | debug | 3 | 1 | 1,030 | 2 | 3 | 600 ms | 1,500 ms | 1,500 ms |",
                "",
                "The matrix: 150 cuts, 4,000 writes acknowledged and 1 lost; 30 cuts of the making of a network; \
                 17,730 damages to files.",
                "Of its 3 parts 1 did not pass.",
            ]
        );
        Ok(())
    }

    #[test]
    fn other_lines_are_refused() {
        assert!(text("").is_err());
        assert!(text("date,commit\n").is_err());
        for line in ["", "a,b", &"x,".repeat(16)] {
            assert!(text(&format!("{HEADER}\n{line}\n")).is_err(), "{line}");
        }
    }

    #[test]
    fn thousands_have_commas() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (703_921, "703,921"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn the_book_has_the_figures_of_the_file() -> anyhow::Result<()> {
        let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/book");
        let text = text(&fs::read_to_string(book.join("chaos.csv"))?)?;
        let page = fs::read_to_string(book.join("chaos.md"))?;
        assert!(page.contains(&text), "chaos.md must say:\n{text}");
        Ok(())
    }
}
