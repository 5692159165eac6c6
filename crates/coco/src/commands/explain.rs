//! `coco explain`: what an error code means and what to do.

use serde_json::json;

use crate::{
    codes::{Code, Entry},
    fault::Fault,
    output::{Output, Table},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The code, for example COCO-2006; all of them without one
    code: Option<String>,
}

pub(crate) fn run(arguments: &ExplainArgs, output: Output) -> Result<(), Fault> {
    let Some(text) = &arguments.code else {
        all(output);
        return Ok(());
    };
    let code: Code = text.parse().map_err(|()| Fault::new(Code::NotListed, text))?;
    let Entry { exit, title, cause, next } = code.entry();
    output.print("explain", members(code), || {
        format!("{code}  {title}\n  exit   {}\n  cause  {cause}\n  next   {next}", exit as u8)
    });
    Ok(())
}

fn members(code: Code) -> serde_json::Value {
    let Entry { exit, title, cause, next } = code.entry();
    let (code, exit) = (code.to_string(), exit as u8);
    json!({ "code": code, "exit": exit, "title": title, "cause": cause, "next": next })
}

fn all(output: Output) {
    let codes: Vec<_> = Code::ALL.iter().map(|code| members(*code)).collect();
    output.print("explain.all", json!({ "codes": codes }), || {
        let mut table = Table::with_head(["CODE", "EXIT", "MEANING"]);
        for code in Code::ALL {
            let Entry { exit, title, .. } = code.entry();
            table.row([&code.to_string(), &(exit as u8).to_string(), title]);
        }
        table.to_string()
    });
}
