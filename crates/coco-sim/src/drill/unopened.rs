//! A recovery that is lost, disk and all, before its service opens: one begins again, from the copy that it was begun with, or from what
//! it left itself.

use coco_crypto::Certificate;

use super::{Drill, copies::Best, other_code::ADMITTED};
use crate::machine::Down;

/// What the dice begin with, beside the seed, and of how many recoveries in a thousand one is lost before.
const UNOPENED: (u64, u64) = (0x554e_4f50_454e_4544, 350);

impl Drill {
    /// Lets a recovery be lost before it opens, in some drills. What the next one begins with, and how it is called when that comes
    /// back.
    ///
    /// # Panics
    /// When what it left is not what it was begun with, or it could be brought back itself.
    pub(super) fn lose_one_unopened(
        &mut self,
        best: Best,
        previous: &Certificate,
    ) -> (Best, Option<&'static str>) {
        let left = self.aside(UNOPENED, |drill| {
            let left = drill.lose_unopened(&best, previous);
            drill.dice.per_mille(500).then_some(left)
        });
        match left {
            None => (best, None),
            Some(None) => {
                let mark =
                    "a recovery was lost before it opened and came back from the copy of before";
                (best, Some(mark))
            }
            Some(Some(left)) => {
                let mark = "a recovery was lost before it opened and came back from what it left";
                (left, Some(mark))
            }
        }
    }

    /// What is left of a recovery that members have opened, or were about to, with too few shares sent.
    fn lose_unopened(&mut self, best: &Best, previous: &Certificate) -> Best {
        let generation = self.services.len();
        let name = format!(" never opened after {generation}");
        let mut node = self.begin_aside(best, &name, ADMITTED);
        self.members(&mut node, &mut []).bring_back_in_part(previous);
        self.audit_beside(&mut node);
        node.machine.go_down(Down::Dark, &mut self.dice);
        self.marks.merge(&node.marks);
        let left = best.of_unopened(&node, previous);
        self.marks
            .reach("a recovery that was never opened was refused as the service that was lost");
        left
    }
}
