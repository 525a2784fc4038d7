//! What holds where the configuration says nothing, and what need not be written because it does.

use enforcer_core::units::{ByteSize, Span};

/// A default, and whether a value is it.
macro_rules! defaults {
    ($($name:ident, $is:ident: $type:ty = $value:expr;)*) => {$(
        pub(super) fn $name() -> $type {
            $value
        }

        pub(super) fn $is(value: &$type) -> bool {
            *value == $name()
        }
    )*};
}

defaults! {
    root, is_root: String = "/".to_owned();
    http, is_http: String = "HTTP".to_owned();
    unknown, is_unknown: String = crate::event::UNKNOWN.to_owned();
    tenant, is_tenant: String = "carbon.super".to_owned();
    timeout, is_timeout: Span = Span::from_secs(10);
    batch, is_batch: usize = 100;
    interval, is_interval: Span = Span::from_secs(1);
    queue, is_queue: ByteSize = ByteSize::from_bytes(8 << 20);
    max_series, is_max_series: usize = 1000;
    window, is_window: Span = Span::from_secs(300);
    max_consumers, is_max_consumers: usize = 1000;
    all, is_all: f64 = 1.0;
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
