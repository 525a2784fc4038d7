//! What holds where the configuration says nothing, and what need not be written because it does.

use enforcer_core::units::{ByteSize, Span};

use super::{HeaderSource, TokenSource};

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
    token_sources, is_token_sources: Vec<TokenSource> =
        vec![TokenSource::Header(HeaderSource { name: "authorization".to_owned(), scheme: scheme() })];
    scheme, is_scheme: String = "Bearer".to_owned();
    choreo_connect, is_choreo_connect: String = "Choreo Connect".to_owned();
    token_cache, is_token_cache: ByteSize = ByteSize::from_bytes(4 << 20);
    max_token, is_max_token: ByteSize = ByteSize::from_bytes(16 << 10);
    verification_budget, is_verification_budget: u32 = 200;
    password_budget, is_password_budget: Span = Span::from_millis(100);
    root, is_root: String = "/".to_owned();
    yes, is_yes: bool = true;
    leeway, is_leeway: Span = Span::from_secs(5);
    fetch_timeout, is_fetch_timeout: Span = Span::from_secs(5);
    refresh, is_refresh: Span = Span::from_secs(300);
    max_stale, is_max_stale: Span = Span::from_secs(3600);
    believed, is_believed: Span = Span::from_secs(60);
    refused_for, is_refused_for: Span = Span::from_secs(10);
    assertion, is_assertion: String = "x-jwt-assertion".to_owned();
    wso2_issuer, is_wso2_issuer: String = "wso2.org/products/am".to_owned();
    dialect, is_dialect: String = "http://wso2.org/claims".to_owned();
    hour, is_hour: Span = Span::from_secs(3600);
    decision_cache, is_decision_cache: ByteSize = ByteSize::from_bytes(1 << 20);
    xacml_type, is_xacml_type: String = "application/xacml+json".to_owned();
    poll, is_poll: Span = Span::from_secs(10);
    cooldown, is_cooldown: Span = Span::from_secs(10);
}

pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
