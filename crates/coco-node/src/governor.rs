//! The thread that carries out members' requests. They run scripts, which may take seconds; one at a time, as the
//! replica hands them out.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
};

use coco_governance::{Engine, Governance};
use coco_replica::GovernTask;

use crate::driver::{Inbox, Job};

/// Starts the thread, which does tasks in their order until the sender is dropped.
pub(crate) fn start(inbox: Inbox) -> io::Result<Sender<GovernTask>> {
    let (sender, tasks) = channel();
    std::thread::Builder::new().name("governor".into()).spawn(move || run(&tasks, &inbox))?;
    Ok(sender)
}

fn run(tasks: &Receiver<GovernTask>, inbox: &Inbox) {
    // Made when it is first needed: most of a node's life nobody governs.
    let mut governance = None;
    while let Ok(task) = tasks.recv() {
        let governance = governance.get_or_insert_with(|| Governance::new(&Engine::new()));
        inbox.put(Job::Governed(Box::new(task.run(governance))));
    }
}
