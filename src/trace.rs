//! Events for operators, without one `#[cfg]` in the logic: with the feature `tracing` these are its macros, without
//! it they compile to nothing. No call site passes a secret or a patient datum; a canary test reads what comes out.

#[cfg(feature = "tracing")]
macro_rules! event {
    (error, $($t:tt)*) => { ::tracing::error!($($t)*) };
    (warn, $($t:tt)*) => { ::tracing::warn!($($t)*) };
    (info, $($t:tt)*) => { ::tracing::info!($($t)*) };
    (debug, $($t:tt)*) => { ::tracing::debug!($($t)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $($name:ident = $(%)?$(?)?$value:expr,)* $message:literal) => {{
        $(let _ = &$value;)*
    }};
}

pub(crate) use event;
