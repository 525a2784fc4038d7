#[cfg(not(target_arch = "wasm32"))]
mod interleaved;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::native::NativeHost;

const TERM: Duration = Duration::from_secs(10);

fn slot() -> Slot {
    Slot::new(1, "auth", "jwks.0")
}

#[test]
fn keys_name_version_and_filter() {
    assert_eq!(slot().key(), "enforcer/1/auth/jwks.0");
}

#[test]
fn an_emptied_value_is_absent() {
    let host = NativeHost::new();
    assert_eq!(slot().read(&host), None);
    slot().write(&host, b"1");
    assert_eq!(slot().read(&host.sibling()).as_deref(), Some(&b"1"[..]));
    slot().clear(&host);
    assert_eq!(slot().read(&host), None);
}

#[test]
fn a_value_is_created_once() {
    let host = NativeHost::new();
    assert_eq!(slot().create(&host, b"1"), Ok(()));
    assert_eq!(slot().create(&host, b"2"), Err(Conflict));
    slot().clear(&host);
    assert_eq!(slot().create(&host, b"3"), Ok(()));
    assert_eq!(slot().read(&host).as_deref(), Some(&b"3"[..]));
}

#[test]
fn an_update_sees_the_latest_value() {
    let host = NativeHost::new();
    let count = |current: Option<&[u8]>| Some(vec![current.map_or(1, |value| value[0] + 1)]);
    assert_eq!(slot().update(&host, count), Ok(Some(vec![1])));
    // Another worker writes between our read and our write, once.
    let mut interfered = false;
    let update = slot().update(&host, |current| {
        if !std::mem::replace(&mut interfered, true) {
            slot().write(&host.sibling(), &[10]);
        }
        count(current)
    });
    assert_eq!(update, Ok(Some(vec![11])));
    assert_eq!(slot().update(&host, |_| None), Ok(None));
    assert_eq!(slot().read(&host), None);
}

#[test]
fn an_update_gives_up_in_the_end() {
    let host = NativeHost::new();
    let mut n = 0_u64;
    let update = slot().update(&host, |_| {
        n += 1;
        slot().write(&host, &n.to_le_bytes());
        Some(b"mine".to_vec())
    });
    assert_eq!(update, Err(Contended));
}

#[test]
fn an_unchanged_value_is_not_written() {
    let host = NativeHost::new();
    slot().write(&host, b"1");
    let before = host.shared_get(slot().key());
    assert_eq!(slot().update(&host, |current| current.map(<[u8]>::to_vec)), Ok(Some(b"1".to_vec())));
    assert_eq!(host.shared_get(slot().key()), before);
}

#[test]
fn a_lease_has_one_holder_until_it_expires() {
    let host = NativeHost::new();
    let (a, b) = (Lease::new(&host, slot(), TERM), Lease::new(&host.sibling(), slot(), TERM));
    assert!(a.acquire(&host));
    assert!(!b.acquire(&host));
    assert!(a.is_held(&host) && !b.is_held(&host));
    assert!(a.acquire(&host), "its own");

    host.advance(TERM / 2);
    assert!(a.renew(&host) && !b.renew(&host));
    host.advance(TERM - Duration::from_nanos(1));
    assert!(a.is_held(&host) && !b.acquire(&host));

    host.advance(Duration::from_nanos(1));
    assert!(!a.is_held(&host) && !a.renew(&host), "expired, though nobody has taken it");
    assert!(b.acquire(&host));
    assert!(!a.acquire(&host) && b.is_held(&host));
}

#[test]
fn a_released_lease_is_free() {
    let host = NativeHost::new();
    let (a, b) = (Lease::new(&host, slot(), TERM), Lease::new(&host, slot(), TERM));
    assert!(a.acquire(&host));
    b.release(&host);
    assert!(a.is_held(&host), "only its owner can give it up");
    a.release(&host);
    assert!(!a.is_held(&host));
    assert!(b.acquire(&host));
}

#[test]
fn a_damaged_lease_can_be_taken() {
    let host = NativeHost::new();
    let lease = Lease::new(&host, slot(), TERM);
    for garbage in [&b"x"[..], &[0xff; 15], &[0xff; 17]] {
        slot().write(&host, garbage);
        assert!(!lease.is_held(&host));
        assert!(lease.acquire(&host));
    }
}

#[test]
fn the_wall_clock_does_not_matter() {
    let host = NativeHost::new();
    let (a, b) = (Lease::new(&host, slot(), TERM), Lease::new(&host, slot(), TERM));
    assert!(a.acquire(&host));
    host.set_now(host.now() + TERM * 100);
    assert!(a.is_held(&host) && !b.acquire(&host));
}
