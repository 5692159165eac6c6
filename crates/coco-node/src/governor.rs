//! The thread that carries out members' requests. They run scripts, which may take seconds; one at a time, as the
//! replica hands them out.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use coco_crypto::SHARING_SEED_BYTES;
use coco_governance::{Certificates, Certify, Engine, Governance};
use coco_replica::GovernTask;
use zeroize::Zeroizing;

use crate::driver::{Inbox, Job};

/// Starts the thread, which does tasks in their order until the sender is dropped.
pub(crate) fn start(inbox: Inbox, service: Arc<dyn Certify>) -> io::Result<Sender<GovernTask>> {
    let (sender, tasks) = channel();
    let certificates = Certificates::Made(service);
    let run = move || run(&tasks, &inbox, &certificates);
    std::thread::Builder::new().name("governor".into()).spawn(run)?;
    Ok(sender)
}

fn run(tasks: &Receiver<GovernTask>, inbox: &Inbox, certificates: &Certificates) {
    // Made when it is first needed: most of a node's life nobody governs.
    let mut governance = None;
    while let Ok(task) = tasks.recv() {
        let governance = governance.get_or_insert_with(|| Governance::new(&Engine::new()));
        let mut seed = Zeroizing::new([0; SHARING_SEED_BYTES]);
        aws_lc_rs::rand::fill(&mut *seed).expect("the system has entropy");
        let task = task.with_certificates(certificates.clone());
        inbox.put(Job::Governed(Box::new(task.run(governance, &seed))));
    }
}
