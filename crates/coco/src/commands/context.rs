//! `coco context`: the networks that somebody works with.

mod add;

use serde_json::json;

use crate::{
    codes::Code,
    contexts::{Context, Contexts},
    fault::Fault,
    output::{Output, Table},
    session::certificate,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ContextCommand {
    /// List the networks that you work with
    #[command(after_help = "Example:\n  coco context ls")]
    Ls,
    /// Choose the network that commands work with
    #[command(after_help = "Example:\n  coco context use acme-trade")]
    Use {
        /// Its name here
        name: String,
    },
    /// Add a network, or change what is known of it
    #[command(
        after_help = "Examples:\n  coco context add acme-trade --url https://n1.acme.example:8000 --service-id sha256:3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f\n  \
                      coco context add dev --url https://127.0.0.1:8000 --service-cert .coco-dev/service_cert.pem --key acme_privk.pem --cert acme_cert.pem"
    )]
    Add(add::AddArgs),
    /// Show what is known of a network
    #[command(after_help = "Example:\n  coco context show acme-trade")]
    Show {
        /// Its name here; the current one without it
        name: Option<String>,
    },
    /// Forget a network
    #[command(after_help = "Example:\n  coco context rm acme-trade")]
    Rm {
        /// Its name here
        name: String,
    },
}

pub(crate) fn run(command: &ContextCommand, output: Output) -> Result<(), Fault> {
    match command {
        ContextCommand::Ls => ls(output),
        ContextCommand::Use { name } => choose(name, output),
        ContextCommand::Add(arguments) => add::run(arguments, output),
        ContextCommand::Show { name } => show(name.as_deref(), output),
        ContextCommand::Rm { name } => remove(name, output),
    }
}

fn ls(output: Output) -> Result<(), Fault> {
    let contexts = Contexts::load()?;
    let current = contexts.current.clone();
    output.print(
        "context.ls",
        json!({ "current": current, "contexts": contexts.contexts }),
        || {
            let mut table = Table::with_head(["", "NAME", "NODES", "SERVICE"]);
            for (name, context) in &contexts.contexts {
                let mark = if current.as_ref() == Some(name) { "*" } else { "" };
                table.row([mark, name, &context.urls.join(" "), &identity(context)]);
            }
            table.to_string()
        },
    );
    Ok(())
}

fn choose(name: &str, output: Output) -> Result<(), Fault> {
    let mut contexts = Contexts::load()?;
    contexts.named(name)?;
    contexts.current = Some(name.to_owned());
    contexts.save()?;
    output.print("context.use", json!({ "current": name }), || format!("now {name}"));
    Ok(())
}

fn show(name: Option<&str>, output: Output) -> Result<(), Fault> {
    let Some((name, context)) = Contexts::load()?.pick(name)? else {
        return Err(Fault::new(Code::NoNetwork, "there is no current context"));
    };
    print("context.show", &name, &context, output);
    Ok(())
}

fn remove(name: &str, output: Output) -> Result<(), Fault> {
    let mut contexts = Contexts::load()?;
    contexts.named(name)?;
    contexts.contexts.remove(name);
    if contexts.current.as_deref() == Some(name) {
        contexts.current = None;
    }
    contexts.save()?;
    output.print("context.rm", json!({ "name": name }), || format!("{name} is forgotten"));
    Ok(())
}

fn print(schema: &str, name: &str, context: &Context, output: Output) {
    let members = json!({ "name": name, "service_id": identity(context), "context": context });
    output.print(schema, members, || {
        let key = context.key.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let cert = context.cert.as_ref().map(|path| path.display().to_string());
        format!(
            "{name}\n  nodes    {}\n  service  {}\n  key      {}\n  cert     {}",
            context.urls.join(" "),
            identity(context),
            key,
            cert.as_deref().unwrap_or("-")
        )
    });
}

/// The identity of the service that is trusted.
fn identity(context: &Context) -> String {
    certificate(&context.service_cert).map_or_else(
        |_| "unreadable".to_owned(),
        |certificate| coco_client::ServiceIdentity::of(&certificate).to_string(),
    )
}
