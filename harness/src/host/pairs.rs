//! The ABI's serialisation of a list of pairs: `u32` count, then `(u32 name length, u32 value length)` for each,
//! then each name and value followed by a NUL. All numbers little-endian. (`PairsUtil` in proxy-wasm-cpp-host.)

/// Most pairs that the host accepts from a module; more count as none.
pub(crate) const MAX_PAIRS: usize = 1024;
/// Most bytes of serialised pairs that the host accepts from a module; more count as none.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// Pairs as raw bytes.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    pairs: impl ExactSizeIterator<Item = (N, V)> + Clone,
) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, pairs.len());
    for (name, value) in pairs.clone() {
        put(&mut out, name.as_ref().len());
        put(&mut out, value.as_ref().len());
    }
    for (name, value) in pairs {
        for part in [name.as_ref(), value.as_ref()] {
            out.extend_from_slice(part);
            out.push(0);
        }
    }
    out
}

fn put(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}

/// Like Envoy, anything malformed or over the limits gives no pairs at all, and no error.
pub(crate) fn decode(bytes: &[u8]) -> Pairs {
    if bytes.len() > MAX_BYTES { Vec::new() } else { try_decode(bytes).unwrap_or_default() }
}

fn try_decode(mut bytes: &[u8]) -> Option<Pairs> {
    let count = take_u32(&mut bytes)?;
    if count > MAX_PAIRS {
        return None;
    }
    let mut sizes = Vec::with_capacity(count);
    for _ in 0..count {
        sizes.push((take_u32(&mut bytes)?, take_u32(&mut bytes)?));
    }
    let mut pairs = Vec::with_capacity(count);
    for (name, value) in sizes {
        pairs.push((take_terminated(&mut bytes, name)?, take_terminated(&mut bytes, value)?));
    }
    bytes.is_empty().then_some(pairs)
}

fn take_u32(bytes: &mut &[u8]) -> Option<usize> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*head)).ok()
}

fn take_terminated(bytes: &mut &[u8], len: usize) -> Option<Vec<u8>> {
    let (part, rest) = bytes.split_at_checked(len)?;
    let (nul, rest) = rest.split_first()?;
    *bytes = rest;
    (*nul == 0).then(|| part.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(n: usize) -> Pairs {
        (0..n)
            .map(|i| (format!("name-{i}").into_bytes(), vec![0xff, 0, u8::try_from(i % 256).unwrap()]))
            .collect()
    }

    fn encoded(pairs: &Pairs) -> Vec<u8> {
        encode(pairs.iter().map(|(n, v)| (n, v)))
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for n in [0, 1, 2, 50, MAX_PAIRS] {
            assert_eq!(decode(&encoded(&some(n))), some(n));
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_abi() {
        assert_eq!(
            encode([("a", "bc")].into_iter()),
            [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, b'a', 0, b'b', b'c', 0]
        );
    }

    #[test]
    fn too_many_pairs_or_bytes_count_as_none() {
        assert_eq!(decode(&encoded(&some(MAX_PAIRS + 1))), Pairs::new());
        assert_eq!(decode(&encoded(&vec![(b"a".to_vec(), vec![b'x'; MAX_BYTES])])), Pairs::new());
    }

    #[test]
    fn every_truncation_and_a_trailing_byte_count_as_none() {
        let whole = encoded(&some(3));
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), Pairs::new(), "{len} bytes");
        }
        assert_eq!(decode(&[&whole[..], b"\0"].concat()), Pairs::new());
    }
}
