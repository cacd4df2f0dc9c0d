//! The closed sets of words in a record.

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ })+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in the record.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// What this word in a record says; `None` for any other.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    )+ };
}

words! {
    /// What kind of record it is.
    Kind {
        /// A door was opened: data could be read from here on. Not that it was seen.
        Opened = "opened",
        /// A change is about to be made.
        Attempt = "attempt",
        /// What that change makes of one row, field by field. It holds if the outcome is that it was committed.
        Changed = "changed",
        /// How that change ended.
        Outcome = "outcome",
        /// The request ended.
        Closed = "closed",
        /// A request was refused.
        Refused = "refused",
        /// Somebody logged in.
        Login = "login",
        /// A session was prolonged.
        Refresh = "refresh",
        /// Somebody logged out, or was.
        Logout = "logout",
        /// Something that the application or the operator chose to record.
        Event = "event",
        /// A sink missed records.
        Gap = "gap",
        /// Records are kept whatever their age: of a person, or of the whole chain.
        Held = "held",
        /// Such a hold has ended.
        Released = "released",
        /// Old records of the chain may be dropped.
        Pruned = "pruned",
    }

    /// What was done.
    Action {
        /// One person's data, or one thing.
        Read = "read",
        /// A list or a search.
        Search = "search",
        /// Something new.
        Create = "create",
        /// A change.
        Update = "update",
        /// A deletion.
        Delete = "delete",
        /// The destruction of a person's keys.
        Erase = "erase",
        /// Data that leaves as a file.
        Export = "export",
        /// A login.
        Login = "login",
        /// A prolonged session.
        Refresh = "refresh",
        /// A logout.
        Logout = "logout",
        /// Nothing: it was denied.
        Denied = "denied",
        /// Access that the policy does not grant, taken in an emergency.
        BreakGlass = "break_glass",
        /// Access of somebody who is not of the clinic, on its behalf.
        Support = "support",
        /// Data given to somebody outside the clinic.
        Disclose = "disclose",
        /// Background work.
        Job = "job",
        /// A change of settings, accounts or roles.
        Configuration = "configuration",
    }

    /// How a change ended.
    Outcome {
        /// The transaction was committed.
        Committed = "committed",
        /// The transaction was rolled back, or never reached its commit.
        RolledBack = "rolled_back",
        /// The commit was sent and its answer lost.
        Unknown = "unknown",
    }

    /// How a request ended.
    End {
        /// The whole body was handed to the connection.
        Completed = "completed",
        /// The body was dropped before its end.
        Aborted = "aborted",
        /// The request was dropped before there was a response.
        Cancelled = "cancelled",
        /// The handler panicked.
        Panicked = "panicked",
        /// The service or the body failed, or the response was withheld.
        Failed = "failed",
    }

    /// The request's method.
    Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// CONNECT.
        Connect = "CONNECT",
        /// Any other: its name is a stranger's text.
        Other = "other",
    }
}

impl From<&http::Method> for Method {
    fn from(method: &http::Method) -> Self {
        match method.as_str() {
            "other" => Self::Other,
            name => Self::parse(name).unwrap_or(Self::Other),
        }
    }
}
