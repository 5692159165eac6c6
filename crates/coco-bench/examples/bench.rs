//! `coco bench` on its own: `cargo run --release -p coco-bench --example bench -- --help`.

use clap::Parser;
use coco_bench::BenchArgs;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    bench: BenchArgs,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "printing the report is what this program is for")]
async fn main() -> anyhow::Result<()> {
    let args = Line::parse().bench;
    let json = args.json;
    let report = coco_bench::run(args).await?;
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(())
}
