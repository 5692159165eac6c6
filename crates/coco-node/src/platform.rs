//! What makes the evidence of this node.
//!
//! There is one platform, the virtual one, which says what program runs and proves nothing.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use coco_attest::ReportData;
use coco_replica::ShownEvidence;
use coco_types::Digest;

use crate::provision::program_digest;

/// The platform of a node.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// What runs, once it was read.
    code: Arc<OnceLock<Digest>>,
}

impl Platform {
    /// What shows that this node runs what it runs, on a channel. The first time it reads the program.
    ///
    /// # Errors
    /// When the program cannot be read.
    pub fn show(&self, data: &ReportData) -> io::Result<ShownEvidence> {
        let code = match self.code.get() {
            Some(code) => *code,
            None => program_digest()?,
        };
        Ok(ShownEvidence::insecure(self.code.get_or_init(|| code), data))
    }

    /// [`Self::show`], on a thread that may wait.
    ///
    /// # Errors
    /// As there.
    pub async fn show_aside(&self, data: ReportData) -> io::Result<ShownEvidence> {
        let platform = self.clone();
        let shown = tokio::task::spawn_blocking(move || platform.show(&data)).await;
        shown.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
