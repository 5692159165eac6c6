//! Looks at everything that a network can do within its bounds.

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::model::{Network, representative};

/// What was found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// States that were reached, each as often as it was.
    pub states: usize,
    /// Different ones, where those that differ in the numbers of the founders only are one.
    pub unique: usize,
    /// Most actions in a row.
    pub depth: usize,
    /// Promises that were broken, each with the actions that led to it.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// What should have been reached and was not. Says nothing when a promise was broken: the search ends there.
    pub never: Vec<&'static str>,
}

impl Outcome {
    /// Whether all promises were kept, and everything was reached that should be.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.broken.is_empty() && self.never.is_empty()
    }

    /// Whether this promise was broken.
    #[must_use]
    pub fn has_broken(&self, promise: &str) -> bool {
        self.broken.iter().any(|(name, _)| *name == promise)
    }
}

/// Searches with so many threads until everything was seen or a promise is broken.
///
/// # Panics
/// When the bounds are larger than the arrays of the model.
#[must_use]
pub fn exhaust(network: Network, threads: usize) -> Outcome {
    assert!(network.bounds.fits(), "the bounds are larger than a state has room for");
    let checker = network
        .checker()
        .symmetry_fn(representative)
        .finish_when(HasDiscoveries::AnyFailures)
        .threads(threads)
        .spawn_dfs()
        .join();
    let mut discoveries = checker.discoveries();
    let (mut broken, mut never) = (Vec::new(), Vec::new());
    for property in network.properties() {
        let found = discoveries.remove(property.name);
        match (property.expectation, found) {
            (Expectation::Sometimes, None) => never.push(property.name),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let actions = path.into_actions();
                let actions = actions.iter().map(|action| format!("{action:?}")).collect();
                broken.push((property.name, actions));
            }
            (Expectation::Sometimes, Some(_))
            | (Expectation::Always | Expectation::Eventually, None) => {}
        }
    }
    let (states, unique) = (checker.state_count(), checker.unique_state_count());
    Outcome { states, unique, depth: checker.max_depth(), broken, never }
}
