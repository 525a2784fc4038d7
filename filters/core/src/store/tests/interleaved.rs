//! Several workers at once: every order of their reads and writes, then real threads.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use super::*;
use crate::{
    host::Level,
    native::turns::{orders, run},
};

fn holders(world: &NativeHost, leases: &[Lease]) -> usize {
    leases.iter().filter(|lease| lease.is_held(world)).count()
}

fn leases(world: &NativeHost, n: usize) -> Vec<Lease> {
    (0..n).map(|_| Lease::new(&world.sibling(), slot(), TERM)).collect()
}

#[test]
fn there_are_as_many_orders_as_arithmetic_says() {
    assert_eq!(orders(2, 2).len(), 6);
    assert_eq!(orders(3, 2).len(), 90);
}

#[test]
fn one_of_three_acquires_in_every_order() {
    /// What the lease was like before, beside being free to take.
    type Before = fn(&NativeHost);
    let befores: [Before; 4] = [
        |_| {},
        |world| slot().clear(world),
        |world| slot().write(world, b"garbage"),
        |world| {
            assert!(Lease::new(world, slot(), TERM).acquire(world));
            world.advance(TERM);
        },
    ];
    for before in befores {
        for order in orders(3, 2) {
            let world = NativeHost::new();
            before(&world);
            let leases = leases(&world, 3);
            let won = run(&world, &order, |id, host| leases[id].acquire(host));
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{order:?}");
            for (lease, won) in leases.iter().zip(won) {
                assert_eq!(lease.is_held(&world), won, "{order:?}");
            }
        }
    }
}

#[test]
fn a_late_renewal_and_a_takeover_never_both_succeed() {
    for order in orders(3, 2) {
        let world = NativeHost::new();
        let leases = leases(&world, 3);
        assert!(leases[0].acquire(&world));
        // The holder looks at the clock just before the end of its term, the others just after.
        world.advance(TERM - Duration::from_nanos(1));
        let results = run(&world, &order, |id, host| {
            if id == 0 {
                leases[0].renew(host)
            } else {
                host.log(Level::Debug, format_args!("after the term"));
                leases[id].take(host, |grant, now| {
                    grant.is_none_or(|grant| grant.expires <= now + Duration::from_nanos(1))
                })
            }
        });
        assert_eq!(results.iter().filter(|won| **won).count(), 1, "{order:?}");
        world.advance(Duration::from_nanos(1));
        assert_eq!(holders(&world, &leases), 1, "{order:?}");
    }
}

#[test]
fn release_never_frees_what_another_holds() {
    for order in orders(3, 2) {
        let world = NativeHost::new();
        let leases = leases(&world, 3);
        assert!(leases[0].acquire(&world));
        world.advance(TERM);
        let won = run(&world, &order, |id, host| {
            if id == 0 {
                leases[0].release(host);
                false
            } else {
                leases[id].acquire(host)
            }
        });
        let winners = won.iter().filter(|won| **won).count();
        assert!(winners <= 1, "{order:?}");
        assert_eq!(holders(&world, &leases), winners, "{order:?}");
    }
}

#[test]
fn of_three_creators_one_succeeds_in_every_order() {
    for order in orders(3, 2) {
        let world = NativeHost::new();
        let created =
            run(&world, &order, |id, host| slot().create(host, &[u8::try_from(id).unwrap()]).is_ok());
        let winner = created.iter().position(|created| *created).unwrap();
        assert_eq!(created.iter().filter(|created| **created).count(), 1, "{order:?}");
        assert_eq!(slot().read(&world), Some(vec![u8::try_from(winner).unwrap()]), "{order:?}");
    }
}

#[test]
fn no_update_is_lost_in_any_order() {
    for order in orders(3, 3) {
        let world = NativeHost::new();
        let add = |host: &dyn Host| {
            slot().update(host, |value| Some(vec![value.map_or(0, |value| value[0]) + 1])).unwrap()
        };
        run(&world, &order, |_, host| add(host));
        assert_eq!(slot().read(&world), Some(vec![3]), "{order:?}");
    }
}

#[test]
fn no_update_is_lost_between_threads() {
    let world = NativeHost::new();
    let add = |value: Option<&[u8]>| {
        let count = value.map_or(0, |value| u32::from_le_bytes(value.try_into().unwrap()));
        Some((count + 1).to_le_bytes().to_vec())
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            let host = world.sibling();
            scope.spawn(move || {
                for _ in 0..500 {
                    while slot().update(&host, add).is_err() {}
                }
            });
        }
    });
    assert_eq!(slot().read(&world), Some(2_000_u32.to_le_bytes().to_vec()));
}

#[test]
fn threads_never_hold_a_lease_together() {
    let world = NativeHost::new();
    let (inside, together) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            let (host, inside, together) = (world.sibling(), &inside, &together);
            scope.spawn(move || {
                let lease = Lease::new(&host, slot(), TERM);
                let mut terms = 0;
                while terms < 50 {
                    if lease.acquire(&host) {
                        together.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(1, SeqCst);
                        lease.release(&host);
                        terms += 1;
                    }
                    thread::yield_now();
                }
            });
        }
    });
    assert_eq!(together.into_inner(), 1);
}
