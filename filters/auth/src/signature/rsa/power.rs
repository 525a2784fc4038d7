//! The one operation that RSA signatures take.

use std::mem;

/// An odd number, and what makes calculating modulo it fast: Montgomery's form of numbers (*Modular
/// multiplication without trial division*, 1985), in which a product is reduced digit by digit, without divisions.
///
/// Numbers are of 32-bit digits, least first, all of the modulus's length: 64-bit products are what a Wasm machine
/// has instructions for.
#[derive(Debug)]
pub(super) struct Modulus {
    n: Vec<u32>,
    /// -1/n modulo 2^32.
    inverse: u32,
    /// R² modulo n, where R is 2 to the number of bits in all digits: multiplying by it makes Montgomery's form.
    square: Vec<u32>,
}

impl Modulus {
    /// Of an odd number, big endian, without leading zeros.
    pub(super) fn new(n: &[u8]) -> Option<Self> {
        let n = digits(n);
        let first = *n.first()?;
        if first % 2 == 0 {
            return None;
        }
        // Newton's method: each round doubles the number of bits that are right, three at first.
        let inverse = (0..4).fold(first, |x, _| x.wrapping_mul(2_u32.wrapping_sub(first.wrapping_mul(x))));
        let mut modulus = Self { inverse: inverse.wrapping_neg(), square: Vec::new(), n };
        modulus.square = modulus.r_squared()?;
        Some(modulus)
    }

    /// `number` to the power of 65537, both big endian and of the same length. `None`: the number is not less than
    /// the modulus, or has fewer digits.
    pub(super) fn power_65537(&self, number: &[u8]) -> Option<Vec<u8>> {
        let base = digits(number);
        if base.len() != self.n.len() || !is_less(&base, &self.n) {
            return None;
        }
        let mut power = self.multiply(&base, &self.square);
        for _ in 0..16 {
            power = self.multiply(&power, &power);
        }
        // The last factor is not in Montgomery's form, so that the product leaves it too.
        let power = self.multiply(&power, &base);
        let mut bytes: Vec<u8> =
            power.iter().flat_map(|digit| digit.to_le_bytes()).take(number.len()).collect();
        bytes.reverse();
        Some(bytes)
    }

    /// a·b/R modulo n.
    fn multiply(&self, a: &[u32], b: &[u32]) -> Vec<u32> {
        let mut sum = vec![0; self.n.len()];
        let mut top = false;
        for a in a {
            top = self.add_product(&mut sum, top, *a, b);
        }
        if top || !is_less(&sum, &self.n) {
            subtract(&mut sum, &self.n);
        }
        sum
    }

    /// (sum + a·b)/2^32 modulo n, to which a multiple of n is added that makes the last digit zero. The result is
    /// less than 2n: `top` is the bit that has no place in the digits.
    fn add_product(&self, sum: &mut [u32], top: bool, a: u32, b: &[u32]) -> bool {
        let (Some((lowest, sum)), Some((first, b)), Some((first_of_n, n))) =
            (sum.split_first_mut(), b.split_first(), self.n.split_first())
        else {
            return top;
        };
        let with_b = product_plus(a, *first, *lowest, 0);
        let factor = low(with_b).wrapping_mul(self.inverse);
        let with_n = product_plus(factor, *first_of_n, low(with_b), 0);
        let (mut carry, mut carry_of_n) = (high(with_b), high(with_n));
        // Each digit goes one place down; the lowest is zero now, and goes away.
        let mut place = lowest;
        for ((digit, b), n) in sum.iter_mut().zip(b).zip(n) {
            let with_b = product_plus(a, *b, *digit, carry);
            let with_n = product_plus(factor, *n, low(with_b), carry_of_n);
            (carry, carry_of_n) = (high(with_b), high(with_n));
            *mem::replace(&mut place, digit) = low(with_n);
        }
        let last = u64::from(carry).wrapping_add(u64::from(carry_of_n)).wrapping_add(u64::from(top));
        *place = low(last);
        high(last) != 0
    }

    /// R² modulo n: 2 in Montgomery's form, to the power of as many as R has bits.
    fn r_squared(&self) -> Option<Vec<u32>> {
        let bits = u32::try_from(self.n.len()).ok()?.checked_mul(32)?;
        // The greatest power of two that is less than n, doubled up to 2R.
        let top = self.n.last()?.checked_ilog2()?;
        let mut power = vec![0; self.n.len()];
        *power.last_mut()? = 1 << top;
        for _ in top..=32 {
            self.double(&mut power);
        }
        for bit in (0..bits.checked_ilog2()?).rev() {
            power = self.multiply(&power, &power);
            if (bits >> bit) & 1 == 1 {
                self.double(&mut power);
            }
        }
        Some(power)
    }

    /// 2·number modulo n.
    fn double(&self, number: &mut [u32]) {
        let mut carry = 0;
        for digit in number.iter_mut() {
            let doubled = u64::from(*digit) << 1 | carry;
            (*digit, carry) = (low(doubled), u64::from(high(doubled)));
        }
        if carry == 1 || !is_less(number, &self.n) {
            subtract(number, &self.n);
        }
    }
}

/// Of a number in big endian.
fn digits(number: &[u8]) -> Vec<u32> {
    let digit = |bytes: &[u8]| bytes.iter().fold(0, |digit, byte| digit << 8 | u32::from(*byte));
    number.rchunks(4).map(digit).collect()
}

fn is_less(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// a - b, with what is borrowed beyond the highest digit: the caller knows that it is there.
fn subtract(a: &mut [u32], b: &[u32]) {
    let mut borrow = false;
    for (a, b) in a.iter_mut().zip(b) {
        (*a, borrow) = a.borrowing_sub(*b, borrow);
    }
}

/// a·b + c + d, which is at most (2^32 - 1)² + 2(2^32 - 1) = 2^64 - 1.
fn product_plus(a: u32, b: u32, c: u32, d: u32) -> u64 {
    u64::from(a).wrapping_mul(u64::from(b)).wrapping_add(u64::from(c)).wrapping_add(u64::from(d))
}

#[expect(clippy::cast_possible_truncation, reason = "the other half is not wanted")]
fn low(digits: u64) -> u32 {
    digits as u32
}

fn high(digits: u64) -> u32 {
    low(digits >> 32)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::{host::Host, native::NativeHost};

    use super::*;

    #[test]
    fn small_powers_are_those_of_ordinary_arithmetic() {
        let host = NativeHost::new();
        for _ in 0..2000 {
            // Two digits, the first of any size but zero.
            let n = (host.random() >> (host.random() % 32)) | (1 << 32) | 1;
            let x = host.random() % n;
            let times =
                |a: u64, b: u64| u64::try_from(u128::from(a) * u128::from(b) % u128::from(n)).unwrap();
            let expected = times((0..16).fold(x, |power, _| times(power, power)), x);
            let power = Modulus::new(&n.to_be_bytes()).unwrap().power_65537(&x.to_be_bytes());
            assert_eq!(power.unwrap(), expected.to_be_bytes(), "{x}^65537 mod {n}");
        }
    }

    /// By adding and doubling, without a product.
    fn slow_product(modulus: &Modulus, a: &[u32], b: &[u32]) -> Vec<u32> {
        let mut sum = vec![0; a.len()];
        for bit in (0..a.len().strict_mul(32)).rev() {
            modulus.double(&mut sum);
            if (a[bit / 32] >> (bit % 32)) & 1 == 1 {
                let mut carry = false;
                for (sum, b) in sum.iter_mut().zip(b) {
                    (*sum, carry) = sum.carrying_add(*b, carry);
                }
                if carry || !is_less(&sum, &modulus.n) {
                    subtract(&mut sum, &modulus.n);
                }
            }
        }
        sum
    }

    #[test]
    fn products_are_those_of_repeated_addition() {
        let host = NativeHost::new();
        let random = |size: usize| (0..size).map(|_| host.random().to_be_bytes()[0]).collect::<Vec<_>>();
        let sparse = [&[1][..], &[0; 255], &[1]].concat();
        for mut n in
            [random(256), random(257), random(258), random(259), random(512), vec![0xff; 256], sparse]
        {
            n[0] |= 1;
            *n.last_mut().unwrap() |= 1;
            let modulus = Modulus::new(&n).unwrap();
            let mut less = [random(n.len()), vec![0; n.len()], n.clone(), vec![0xff; n.len()]];
            less[0][0] = 0;
            *less[2].last_mut().unwrap() &= 0xfe;
            less[3][0] = 0;
            let less = less.map(|number| digits(&number));
            for (a, b) in less.iter().flat_map(|a| less.iter().map(move |b| (a, b))) {
                let product = modulus.multiply(&modulus.multiply(a, &modulus.square), b);
                assert_eq!(product, slow_product(&modulus, a, b));
            }
        }
    }

    #[test]
    fn only_numbers_below_an_odd_modulus_have_powers() {
        let modulus = Modulus::new(&[1; 8]).unwrap();
        assert!(modulus.power_65537(&[1; 8]).is_none());
        assert!(modulus.power_65537(&[1, 1, 1, 1, 1, 1, 1, 0]).is_some());
        assert!(modulus.power_65537(&[0xff; 8]).is_none());
        assert!(modulus.power_65537(&[1; 4]).is_none());
        assert!(Modulus::new(&[1, 2]).is_none());
        assert!(Modulus::new(&[]).is_none());
    }
}
