//! What all VMs of one `vm_id` share: the key-value store and the queues.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use super::abi::Status;

/// Shared data and queues of a whole process. Clones are the same store: give one to every worker, or to hosts of
/// different modules that share a `vm_id`.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Store>>);

#[derive(Debug, Default)]
struct Store {
    /// By `vm_id`.
    data: HashMap<String, Entries>,
    last_cas: u32,
    queues: Vec<Queue>,
}

/// Values and their versions.
type Entries = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

#[derive(Debug)]
struct Queue {
    vm_id: String,
    name: Vec<u8>,
    items: VecDeque<Vec<u8>>,
    owner: Owner,
}

/// Who hears of a queue's items: the last that registered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The number that the embedder gave to the VM.
    pub vm: u32,
    /// The root context in it.
    pub root: u32,
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A value and its version (never 0).
    pub fn get(&self, vm_id: &str, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.with(|store| store.data.get(vm_id)?.get(key).cloned())
    }

    /// Envoy's rule: a missing key takes any `cas`; a present one takes 0 or its own version.
    pub fn set(&self, vm_id: &str, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        self.with(|store| {
            let entries = store.data.entry(vm_id.to_owned()).or_default();
            if cas != 0 && entries.get(key).is_some_and(|(_, version)| *version != cas) {
                return Err(Status::CasMismatch);
            }
            store.last_cas = store.last_cas.wrapping_add(1).max(1);
            entries.insert(key.to_vec(), (value.to_vec(), store.last_cas));
            Ok(())
        })
    }

    /// All keys of a `vm_id`, sorted.
    pub fn keys(&self, vm_id: &str) -> Vec<Vec<u8>> {
        self.with(|store| {
            store.data.get(vm_id).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
        })
    }

    /// Bytes of all keys and values of a `vm_id`.
    pub fn bytes(&self, vm_id: &str) -> usize {
        self.with(|store| {
            let entries = store.data.get(vm_id).into_iter().flatten();
            entries.fold(0, |sum: usize, (k, (v, _))| sum.saturating_add(k.len()).saturating_add(v.len()))
        })
    }

    pub(crate) fn register_queue(&self, vm_id: &str, name: &[u8], owner: Owner) -> u32 {
        self.with(|store| {
            let at = match store.queues.iter().position(|q| q.vm_id == vm_id && q.name == name) {
                Some(at) => at,
                None => {
                    let (vm_id, name) = (vm_id.to_owned(), name.to_vec());
                    store.queues.push(Queue { vm_id, name, items: VecDeque::new(), owner });
                    store.queues.len().saturating_sub(1)
                }
            };
            if let Some(queue) = store.queues.get_mut(at) {
                queue.owner = owner;
            }
            token(at)
        })
    }

    pub(crate) fn resolve_queue(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        self.with(|store| store.queues.iter().position(|q| q.vm_id == vm_id && q.name == name).map(token))
    }

    /// Appends an item and says who must hear of it.
    pub(crate) fn enqueue(&self, token: u32, item: Vec<u8>) -> Result<Owner, Status> {
        self.with(|store| {
            let queue = store.queue(token).ok_or(Status::NotFound)?;
            queue.items.push_back(item);
            Ok(queue.owner)
        })
    }

    pub(crate) fn dequeue(&self, token: u32) -> Result<Vec<u8>, Status> {
        self.with(|store| store.queue(token).ok_or(Status::NotFound)?.items.pop_front().ok_or(Status::Empty))
    }
}

impl Store {
    fn queue(&mut self, token: u32) -> Option<&mut Queue> {
        self.queues.get_mut(usize::try_from(token).ok()?.checked_sub(1)?)
    }
}

/// Tokens count from 1: 0 means that there is no such queue.
fn token(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_write_with_a_sentinel_is_atomic() {
        let shared = Shared::default();
        assert_eq!(shared.set("vm", b"k", b"first", u32::MAX), Ok(()));
        assert_eq!(shared.set("vm", b"k", b"second", u32::MAX), Err(Status::CasMismatch));
        assert_eq!(shared.get("vm", b"k").unwrap().0, b"first");
    }

    #[test]
    fn two_blind_first_writers_race_and_the_last_wins() {
        let shared = Shared::default();
        assert_eq!(shared.set("vm", b"k", b"first", 0), Ok(()));
        assert_eq!(shared.set("vm", b"k", b"second", 0), Ok(()));
        assert_eq!(shared.get("vm", b"k").unwrap().0, b"second");
    }

    #[test]
    fn a_version_is_good_for_one_write() {
        let shared = Shared::default();
        shared.set("vm", b"k", b"1", 0).unwrap();
        let (_, cas) = shared.get("vm", b"k").unwrap();
        assert_eq!(shared.set("vm", b"k", b"2", cas), Ok(()));
        assert_eq!(shared.set("vm", b"k", b"3", cas), Err(Status::CasMismatch));
        assert_ne!(shared.get("vm", b"k").unwrap().1, cas);
    }

    #[test]
    fn namespaces_do_not_meet() {
        let shared = Shared::default();
        shared.set("a", b"k", b"1", 0).unwrap();
        assert_eq!(shared.get("b", b"k"), None);
    }

    #[test]
    fn real_threads_lose_no_increment() {
        let shared = Shared::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        loop {
                            let (n, cas) = match shared.get("vm", b"n") {
                                Some((bytes, cas)) => (u64::from_le_bytes(bytes.try_into().unwrap()), cas),
                                None => (0, u32::MAX),
                            };
                            if shared.set("vm", b"n", &(n + 1).to_le_bytes(), cas).is_ok() {
                                break;
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(shared.get("vm", b"n").unwrap().0, 2000u64.to_le_bytes());
    }

    #[test]
    fn queues_are_first_in_first_out_and_belong_to_the_last_registrant() {
        let shared = Shared::default();
        let token = shared.register_queue("vm", b"q", Owner { vm: 0, root: 1 });
        assert_eq!(shared.register_queue("vm", b"q", Owner { vm: 3, root: 2 }), token);
        assert_eq!(shared.resolve_queue("vm", b"q"), Some(token));
        assert_eq!(shared.resolve_queue("other", b"q"), None);
        assert_eq!(shared.enqueue(token, b"1".to_vec()), Ok(Owner { vm: 3, root: 2 }));
        shared.enqueue(token, b"2".to_vec()).unwrap();
        assert_eq!(shared.dequeue(token), Ok(b"1".to_vec()));
        assert_eq!(shared.dequeue(token), Ok(b"2".to_vec()));
        assert_eq!(shared.dequeue(token), Err(Status::Empty));
        assert_eq!(shared.dequeue(99), Err(Status::NotFound));
    }
}
