//! Sequence diagrams of a part of a log: as text for mermaid, or drawn.

use std::fmt::Write as _;

use crate::log::{Event, Happened};

/// Rows of a diagram: more than these nobody reads.
pub const ROWS_MAX: usize = 400;

/// The diagram of these events as mermaid text. A message stands where it arrives, one that is lost where it was sent.
#[must_use]
pub fn mermaid(events: &[&Event], nodes: usize, title: &str) -> String {
    let mut out = format!("sequenceDiagram\n    title {}\n", plain(title));
    for node in 0..nodes {
        let _never = writeln!(out, "    participant n{node}");
    }
    for event in events {
        let s = seconds(event);
        let _never = match (&event.what, event.node) {
            (Happened::Receives { from: Some(from), said }, Some(node)) => {
                writeln!(out, "    n{from}->>n{node}: {s} {}", plain(said))
            }
            (Happened::Sends { to, said, arrives_us }, Some(node)) => {
                if arrives_us.is_empty() {
                    writeln!(out, "    n{node}--xn{to}: {s} {}", plain(said))
                } else {
                    Ok(())
                }
            }
            (what, Some(node)) => {
                writeln!(out, "    Note over n{node}: {s} {}", plain(&what.to_string()))
            }
            (what, None) => {
                let last = nodes.saturating_sub(1);
                writeln!(out, "    Note over n0,n{last}: {s} {}", plain(&what.to_string()))
            }
        };
    }
    out
}

/// The diagram of these events as an SVG image: a column for each node, time from top to bottom by event.
#[must_use]
pub fn svg(events: &[&Event], nodes: usize, title: &str) -> String {
    let (width, height) = (LEFT + COLUMN * nodes + COLUMN / 2, TOP + ROW * (events.len() + 1));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"monospace\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"16\" font-size=\"13\">{}</text>\n",
        escaped(title)
    );
    for node in 0..nodes {
        let x = x(node);
        let _never = write!(
            out,
            "<text x=\"{x}\" y=\"36\" text-anchor=\"middle\" font-weight=\"bold\">n{node}</text>\n\
             <line x1=\"{x}\" y1=\"42\" x2=\"{x}\" y2=\"{height}\" stroke=\"#bbb\"/>\n"
        );
    }
    for (row, event) in events.iter().enumerate() {
        let y = TOP + ROW * row;
        let _never =
            writeln!(out, "<text x=\"8\" y=\"{y}\" fill=\"#666\">{}</text>", seconds(event));
        draw(&mut out, events, row, y);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, events: &[&Event], row: usize, y: usize) {
    let event = events[row];
    let mut text = |x: usize, text: &str, colour: &str| {
        let _never = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            x + 5,
            y - 2,
            escaped(text)
        );
    };
    match (&event.what, event.node) {
        (Happened::Receives { from: Some(from), said }, Some(node)) => {
            text(x(node), said, "#04a");
            let sent = events[..row].iter().rposition(|sent| is_sending(sent, event));
            let start = sent.map_or(y, |sent| TOP + ROW * sent);
            line(out, (x(*from), start), (x(node), y), "#04a");
        }
        (Happened::Sends { to, said, arrives_us }, Some(node)) if arrives_us.is_empty() => {
            text(x(node), &format!("lost: {said}"), "#c00");
            line(out, (x(node), y), (x(node).midpoint(x(*to)), y + ROW / 2), "#c00");
        }
        (Happened::Sends { to, said, .. }, Some(node)) => {
            text(x(node), &format!("to n{to}: {said}"), "#777");
        }
        (what, node) => text(node.map_or(LEFT, x), &what.to_string(), "#000"),
    }
}

fn line(out: &mut String, (x1, y1): (usize, usize), (x2, y2): (usize, usize), colour: &str) {
    let _never = write!(
        out,
        "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{colour}\"/>\n\
         <circle cx=\"{x2}\" cy=\"{y2}\" r=\"3\" fill=\"{colour}\"/>\n"
    );
}

/// Whether one event is the sending of what another received.
fn is_sending(sent: &Event, received: &Event) -> bool {
    let (Happened::Sends { to, said, arrives_us }, Happened::Receives { from, said: heard }) =
        (&sent.what, &received.what)
    else {
        return false;
    };
    sent.node == *from
        && Some(*to) == received.node
        && said == heard
        && arrives_us.contains(&received.at_us)
}

fn seconds(event: &Event) -> String {
    format!("{}.{:06}", event.at_us / 1_000_000, event.at_us % 1_000_000)
}

const fn x(node: usize) -> usize {
    LEFT + COLUMN * node + COLUMN / 2
}

/// Text that mermaid does not take for its own signs.
fn plain(text: &str) -> String {
    text.replace([';', '#', '\n'], " ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Pixels.
const LEFT: usize = 90;
const TOP: usize = 60;
const ROW: usize = 20;
const COLUMN: usize = 380;

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<Event> {
        let said = || "view 3: vote <given>; x".to_owned();
        let event = |at_us, node, what| Event { at_us, node: Some(node), what };
        vec![
            event(1, 0, Happened::Sends { to: 1, said: said(), arrives_us: vec![3] }),
            event(2, 0, Happened::Sends { to: 1, said: said(), arrives_us: vec![] }),
            event(3, 1, Happened::Receives { from: Some(0), said: said() }),
            event(4, 1, Happened::Crashes { lost: 1, kept: 0 }),
        ]
    }

    #[test]
    fn a_diagram_has_a_line_for_each_message_and_each_note() {
        let events = events();
        let events: Vec<&Event> = events.iter().collect();
        let text = mermaid(&events, 2, "a seed");
        for line in [
            "    participant n1",
            "    n0--xn1: 0.000002 view 3: vote <given>  x",
            "    n0->>n1: 0.000003 view 3: vote <given>  x",
            "    Note over n1: 0.000004 crashes, 1 steps to its disk lost, 0 kept",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn an_arrow_begins_where_its_message_was_sent() {
        let events = events();
        let events: Vec<&Event> = events.iter().collect();
        let image = svg(&events, 2, "a seed");
        let (from, to) = ((x(0), TOP), (x(1), TOP + 2 * ROW));
        let arrow = format!("x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"", from.0, from.1, to.0, to.1);
        assert!(image.contains(&arrow), "{arrow} in {image}");
        assert!(image.contains("vote &lt;given&gt;; x"), "{image}");
    }
}
