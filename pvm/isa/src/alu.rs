//! Arithmetic as pure functions, one meaning for every engine.
//!
//! Functions whose name ends in `_32` take the low 32 bits of their operands
//! and sign-extend their 32-bit result. Shift and rotation counts are taken
//! modulo the width. The others follow the table's semantics.

/// The low 32 bits, sign-extended.
#[inline(always)]
pub fn sext32(value: u32) -> u64 {
    value as i32 as i64 as u64
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident($a:ident, $b:ident) $body:expr;)+) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $name($a: u64, $b: u64) -> u64 {
                $body
            }
        )+
    };
}

binary! {
    /// a + b.
    add_32(a, b) sext32((a as u32).wrapping_add(b as u32));
    /// a − b.
    sub_32(a, b) sext32((a as u32).wrapping_sub(b as u32));
    /// a · b.
    mul_32(a, b) sext32((a as u32).wrapping_mul(b as u32));
    /// a / b unsigned; 2^64 − 1 when b is 0.
    div_u_32(a, b) (a as u32).checked_div(b as u32).map_or(u64::MAX, sext32);
    /// a mod b unsigned; a when b is 0.
    rem_u_32(a, b) sext32((a as u32).checked_rem(b as u32).unwrap_or(a as u32));
    /// a / b toward zero; 2^64 − 1 when b is 0; wraps on overflow.
    div_s_32(a, b) if b as u32 == 0 { u64::MAX } else { (a as i32).wrapping_div(b as i32) as u64 };
    /// a rem b with the sign of a; a when b is 0; 0 on overflow.
    rem_s_32(a, b) if b as u32 == 0 { sext32(a as u32) } else { (a as i32).wrapping_rem(b as i32) as u64 };
    /// a << b.
    shl_32(a, b) sext32((a as u32).wrapping_shl(b as u32));
    /// a >> b, zeros from above.
    shr_32(a, b) sext32((a as u32).wrapping_shr(b as u32));
    /// a >> b, copies of the sign from above.
    sar_32(a, b) (a as i32).wrapping_shr(b as u32) as u64;
    /// a rotated left by b.
    rotl_32(a, b) sext32((a as u32).rotate_left(b as u32 % 32));
    /// a rotated right by b.
    rotr_32(a, b) sext32((a as u32).rotate_right(b as u32 % 32));
    /// a / b unsigned; 2^64 − 1 when b is 0.
    div_u_64(a, b) a.checked_div(b).unwrap_or(u64::MAX);
    /// a mod b unsigned; a when b is 0.
    rem_u_64(a, b) a.checked_rem(b).unwrap_or(a);
    /// a / b toward zero; 2^64 − 1 when b is 0; wraps on overflow.
    div_s_64(a, b) if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 };
    /// a rem b with the sign of a; a when b is 0; 0 on overflow.
    rem_s_64(a, b) if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 };
    /// a << b.
    shl_64(a, b) a.wrapping_shl(b as u32);
    /// a >> b, zeros from above.
    shr_64(a, b) a.wrapping_shr(b as u32);
    /// a >> b, copies of the sign from above.
    sar_64(a, b) (a as i64).wrapping_shr(b as u32) as u64;
    /// a rotated left by b.
    rotl_64(a, b) a.rotate_left(b as u32 % 64);
    /// a rotated right by b.
    rotr_64(a, b) a.rotate_right(b as u32 % 64);
    /// High half of a · b, both unsigned.
    mul_upper_u_u(a, b) ((u128::from(a) * u128::from(b)) >> 64) as u64;
    /// High half of a · b, both signed.
    mul_upper_s_s(a, b) ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64;
    /// High half of a · b, a signed, b unsigned.
    mul_upper_s_u(a, b) ((i128::from(a as i64) * i128::from(b)) >> 64) as u64;
    /// Greater of a, b, signed.
    max_s(a, b) (a as i64).max(b as i64) as u64;
    /// Lesser of a, b, signed.
    min_s(a, b) (a as i64).min(b as i64) as u64;
}

/// a < b, signed.
#[inline(always)]
pub fn lt_s(a: u64, b: u64) -> bool {
    (a as i64) < b as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN32: u64 = i32::MIN as i64 as u64;
    const MIN64: u64 = i64::MIN as u64;
    const ONES: u64 = u64::MAX;

    #[test]
    fn division_edges() {
        assert_eq!(div_u_32(5, 1 << 32), ONES);
        assert_eq!(div_u_32(0x8000_0000, 1), MIN32);
        assert_eq!(rem_u_32(0x8000_0000, 1 << 32), MIN32);
        assert_eq!(div_s_32(0x8000_0000, ONES), MIN32);
        assert_eq!(rem_s_32(0x8000_0000, ONES), 0);
        assert_eq!(rem_s_32(0x8000_0000, 0), MIN32);
        assert_eq!(div_s_64(MIN64, ONES), MIN64);
        assert_eq!(rem_s_64(MIN64, ONES), 0);
        assert_eq!((div_u_64(7, 0), div_s_64(7, 0)), (ONES, ONES));
        assert_eq!((rem_u_64(7, 0), rem_s_64(7, 0)), (7, 7));
        assert_eq!(div_s_64(-7i64 as u64, 2), -3i64 as u64);
        assert_eq!(rem_s_64(-7i64 as u64, 2), ONES);
    }

    #[test]
    fn shifts_round_down_and_wrap_their_count() {
        assert_eq!(sar_64(-5i64 as u64, 1), -3i64 as u64);
        assert_eq!(sar_32(-5i64 as u64, 33), -3i64 as u64);
        assert_eq!(shl_32(1, 31), MIN32);
        assert_eq!(shr_32(MIN32, 32), MIN32);
        assert_eq!(shl_64(1, 64), 1);
        assert_eq!(shr_64(ONES, u64::from(u32::MAX)), 1);
        assert_eq!(rotr_32(1, 1 << 40 | 1), MIN32);
        assert_eq!(rotl_64(MIN64, 65), 1);
    }

    #[test]
    fn high_halves() {
        assert_eq!(mul_upper_u_u(ONES, ONES), ONES - 1);
        assert_eq!(mul_upper_s_s(ONES, ONES), 0);
        assert_eq!(mul_upper_s_u(ONES, ONES), ONES);
        assert_eq!(mul_upper_s_u(MIN64, ONES), MIN64);
    }
}
