//! Filters that clients poll: a table of what each has asked for and how far it has been told.
//!
//! A filter holds no results: polling searches the blocks since the last time, as far as the limits of a search go, and
//! the next poll goes on from there. The table is bounded in bytes. When it is full, filters that nobody has polled for
//! minutes are forgotten, the longest idle first, and if there are none a new one is refused: whoever makes many takes no
//! filter from those who poll theirs. Identifiers cannot be guessed, since whoever knows one can poll it.

use std::collections::BTreeMap;

use alloy_primitives::{B256, keccak256};
use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::{
    Rpc,
    error::{CODE_LIMIT, RpcError},
    json::Json,
    logs::Criteria,
    params::{self, Wrong},
    view::Chain,
};

/// Most bytes that the filters of all clients take.
pub const FILTER_BYTES_MAX: usize = 16 << 20;

/// How long a filter is kept in any case since it was made or polled, in milliseconds. As go-ethereum.
pub const FILTER_IDLE_MS: u64 = 5 * 60 * 1000;

/// Most blocks that one poll reports; the next poll goes on.
pub const FILTER_BLOCKS_MAX: u64 = 10_000;

/// Names a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FilterId([u8; 16]);

impl FilterId {
    pub(super) fn read(value: &RawValue) -> Result<Self, Wrong> {
        let text = params::text(value).ok_or_else(|| {
            "json: cannot unmarshal non-string into Go value of type rpc.ID".to_owned()
        })?;
        // What is no identifier of ours names no filter, which is a matter for the method.
        let bytes = alloy_primitives::hex::decode(&*text).ok();
        Ok(Self(bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()))
    }
}

#[derive(Clone, Debug)]
pub(super) enum Watch {
    Blocks,
    Logs(Criteria),
    /// Nothing is pending that a client could see.
    Pending,
}

#[derive(Debug)]
struct Filter {
    watch: Watch,
    /// The first block that was not reported.
    next: u64,
    used: u64,
    used_ms: u64,
}

/// The filters of all clients.
#[derive(Debug)]
pub(super) struct Filters {
    seed: B256,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    filters: BTreeMap<FilterId, Filter>,
    by_use: BTreeMap<u64, FilterId>,
    uses: u64,
    bytes: usize,
}

impl Filters {
    /// An empty table. `seed` is entropy, for identifiers that nobody can guess.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed: B256::from(seed), table: Mutex::default() }
    }

    /// Puts a filter in; `None` when there is no room for it.
    fn install(&self, watch: Watch, next: u64, now_ms: u64) -> Option<FilterId> {
        let mut table = self.table.lock();
        let weight = weight(&watch);
        while table.bytes + weight > FILTER_BYTES_MAX {
            let (_, oldest) = table.by_use.first_key_value()?;
            let oldest = *oldest;
            if now_ms.saturating_sub(table.filters[&oldest].used_ms) <= FILTER_IDLE_MS {
                return None;
            }
            table.remove(oldest);
        }
        table.uses += 1;
        let used = table.uses;
        let digest = keccak256([self.seed.as_slice(), &used.to_be_bytes()].concat());
        let id = FilterId(*digest.first_chunk().expect("a digest has 32 bytes"));
        table.bytes += weight;
        table.by_use.insert(used, id);
        table.filters.insert(id, Filter { watch, next, used, used_ms: now_ms });
        Some(id)
    }

    /// What a filter watches, and the blocks to report up to `latest`, which count as reported from now on.
    fn poll(&self, id: FilterId, latest: u64, now_ms: u64) -> Option<(Watch, Option<(u64, u64)>)> {
        let mut table = self.table.lock();
        table.uses += 1;
        let used = table.uses;
        let filter = table.filters.get_mut(&id)?;
        let before = std::mem::replace(&mut filter.used, used);
        filter.used_ms = now_ms;
        let last = latest.min(filter.next.saturating_add(FILTER_BLOCKS_MAX - 1));
        let blocks = (filter.next <= last).then_some((filter.next, last));
        if blocks.is_some() {
            filter.next = last + 1;
        }
        let watch = filter.watch.clone();
        table.by_use.remove(&before);
        table.by_use.insert(used, id);
        Some((watch, blocks))
    }

    /// Has `next` reported again: the poll failed, or ended before it.
    fn rewind(&self, id: FilterId, next: u64) {
        if let Some(filter) = self.table.lock().filters.get_mut(&id) {
            filter.next = filter.next.min(next);
        }
    }

    fn criteria(&self, id: FilterId) -> Option<Criteria> {
        match &self.table.lock().filters.get(&id)?.watch {
            Watch::Logs(criteria) => Some(criteria.clone()),
            Watch::Blocks | Watch::Pending => None,
        }
    }

    fn uninstall(&self, id: FilterId) -> bool {
        self.table.lock().remove(id)
    }
}

impl Table {
    fn remove(&mut self, id: FilterId) -> bool {
        let Some(filter) = self.filters.remove(&id) else { return false };
        self.by_use.remove(&filter.used);
        self.bytes -= weight(&filter.watch);
        true
    }
}

fn weight(watch: &Watch) -> usize {
    FILTER_BYTES
        + match watch {
            Watch::Logs(criteria) => criteria.weight(),
            Watch::Blocks | Watch::Pending => 0,
        }
}

/// A filter's place in both trees.
const FILTER_BYTES: usize = 256;

impl Rpc {
    /// `eth_newFilter` and its kin: what happens after the newest committed block is reported.
    pub(super) fn new_filter(
        &self,
        chain: &Chain<'_>,
        watch: Watch,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let id = self.filters.install(watch, chain.latest.number + 1, chain.now_ms());
        let id = id.ok_or_else(|| {
            let message = format!(
                "limit exceeded: the filters of this node take {FILTER_BYTES_MAX} bytes; \
                 uninstall some, or try again when some were not polled for {} s",
                FILTER_IDLE_MS / 1000
            );
            RpcError::new(CODE_LIMIT, message)
        })?;
        json.data(id.0);
        Ok(())
    }

    /// `eth_getFilterChanges`.
    pub(super) fn filter_changes(
        &self,
        chain: &Chain<'_>,
        id: FilterId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let polled = self.filters.poll(id, chain.latest.number, chain.now_ms());
        let (watch, blocks) = polled.ok_or_else(not_found)?;
        let Some((from, to)) = blocks else {
            json.raw("[]");
            return Ok(());
        };
        let told = match watch {
            Watch::Pending => {
                json.raw("[]");
                Ok(to + 1)
            }
            Watch::Logs(criteria) => self.logs_between(chain, &criteria, (from, to), json),
            Watch::Blocks => hashes(chain, from, to).map(|hashes| {
                let next = from + hashes.len() as u64;
                json.list(hashes, Json::data);
                next
            }),
        };
        let next = told.as_ref().map_or(from, |next| *next);
        if next <= to {
            self.filters.rewind(id, next);
        }
        told.map(|_| ())
    }

    /// `eth_getFilterLogs`.
    pub(super) fn filter_logs(
        &self,
        chain: &Chain<'_>,
        id: FilterId,
        json: &mut Json,
    ) -> Result<(), RpcError> {
        let criteria = self.filters.criteria(id).ok_or_else(not_found)?;
        self.logs(chain, &criteria, json)
    }

    /// `eth_uninstallFilter`.
    pub(super) fn uninstall_filter(&self, id: FilterId, json: &mut Json) {
        json.bool(self.filters.uninstall(id));
    }
}

fn not_found() -> RpcError {
    RpcError::plain("filter not found")
}

/// The hashes of blocks `from` to `to`, as far as there is time; that of the first in any case.
fn hashes(chain: &Chain<'_>, from: u64, to: u64) -> Result<Vec<B256>, RpcError> {
    (from..=to)
        .take_while(|number| *number == from || !chain.is_late())
        .filter_map(|number| chain.committed_hash(number).transpose())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_refuses_until_a_filter_was_not_polled_for_long() {
        let filters = Filters::new([1; 32]);
        let install = |now_ms| filters.install(Watch::Blocks, 1, now_ms);
        let most = FILTER_BYTES_MAX / FILTER_BYTES;
        let ids: Vec<FilterId> = (0..most).map(|_| install(0).expect("there is room")).collect();
        let polls = |id, now_ms| filters.poll(id, 0, now_ms).is_some();
        assert!(polls(ids[0], 7));
        assert_eq!(install(FILTER_IDLE_MS), None, "none was idle for longer");
        let last = install(FILTER_IDLE_MS + 1).expect("one made room");
        let there = [ids[0], ids[1], ids[2], last].map(|id| polls(id, FILTER_IDLE_MS + 1));
        assert_eq!(there, [true, false, true, true]);
        assert!(filters.uninstall(ids[0]));
        assert!(install(FILTER_IDLE_MS).is_some(), "one was uninstalled");
        assert!(Filters::new([2; 32]).install(Watch::Blocks, 1, 0) != Some(ids[0]));
    }

    #[test]
    fn a_poll_reports_a_bounded_number_of_blocks_and_goes_on() {
        let filters = Filters::new([1; 32]);
        let id = filters.install(Watch::Blocks, 1, 0).expect("there is room");
        let blocks = |latest| filters.poll(id, latest, 0).expect("it is there").1;
        assert_eq!(blocks(0), None);
        assert_eq!(blocks(FILTER_BLOCKS_MAX + 5), Some((1, FILTER_BLOCKS_MAX)));
        assert_eq!(
            blocks(FILTER_BLOCKS_MAX + 5),
            Some((FILTER_BLOCKS_MAX + 1, FILTER_BLOCKS_MAX + 5))
        );
        assert_eq!(blocks(FILTER_BLOCKS_MAX + 5), None);
        filters.rewind(id, 7);
        assert_eq!(blocks(9), Some((7, 9)));
    }
}
