//! The commands, one module each.

pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod http;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod man;
pub(crate) mod member;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod proposal;
pub(crate) mod receipt;
pub(crate) mod shares;
pub(crate) mod status;
pub(crate) mod user;
