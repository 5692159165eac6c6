//! The commands, one module each.

pub(crate) mod dev;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod node;
pub(crate) mod receipt;
