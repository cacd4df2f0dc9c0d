//! What can be wrong, and what to do.

/// Why a text is no checkpoint to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// More bytes than [`MAX_CHECKPOINT`](super::MAX_CHECKPOINT).
    #[error("the checkpoint is too long: give the note alone")]
    TooLong,
    /// Not UTF-8, or a control character other than the newline.
    #[error("the checkpoint is not plain text: keep it byte for byte, with newlines alone")]
    NotText,
    /// No blank line with signatures after it, or no newline at the end.
    #[error("the checkpoint has no blank line with signatures after it: give the note whole")]
    Signatures,
    /// More signatures than are looked at.
    #[error("the checkpoint has too many signatures: leave out those of keys that nobody here knows")]
    TooManySignatures,
    /// A line among the signatures that is none.
    #[error("a signature line is not of the form `— NAME BASE64`: give the note as it was signed")]
    SignatureLine,
    /// Two signatures of one key.
    #[error("a key has signed twice: one signature of each key is allowed")]
    Duplicate,
    /// The first line is not an origin.
    #[error("the first line is not the name of a log")]
    Origin,
    /// The second line is not a number of records.
    #[error("the second line is not a size: a decimal number below 2^64 without leading zeros")]
    Size,
    /// The third line is not a root.
    #[error("the third line is not a root: 32 bytes in base64, of an empty log the hash of nothing")]
    Root,
    /// There are more lines than three.
    #[error("there is a line after the root: a ledger's checkpoint has none")]
    Extension,
    /// It is the checkpoint of another log.
    #[error("the checkpoint is of another log than the key: compare its first line with the key's name")]
    OtherLog,
    /// A signature that names a known key is not by that key.
    #[error(
        "a signature by a known key does not hold: the checkpoint was changed, or another key has that name and id"
    )]
    BadSignature,
    /// A witness's time cannot be.
    #[error("a witness's time is beyond the calendar")]
    Time,
    /// No key of the log has signed.
    #[error("no known key of the log has signed: add its key, after you learned it from somebody you trust")]
    Unsigned,
    /// Fewer witnesses have signed than must.
    #[error("{have} of the known witnesses have signed, and {need} must")]
    Quorum {
        /// How many have.
        have: usize,
        /// How many must.
        need: usize,
    },
}

/// Why a key, or a set of keys, cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointKeyError {
    /// The parts are not there.
    #[error("not a key: a public one is `NAME+ID+BASE64`, a private one begins with `PRIVATE+KEY+`; copy it whole")]
    Form,
    /// A private key stands where a public one should.
    #[error("a private key stands where a public one should: replace that key, it may be in a log")]
    Private,
    /// Not a name.
    #[error("the name is not 1 to 255 visible ASCII characters without `+`, such as `clinic.example/ledger`")]
    Name,
    /// A scheme before the name.
    #[error("the name has a scheme: write it without, such as `clinic.example/ledger`")]
    Scheme,
    /// Not base64 in its one spelling, or of another length.
    #[error("the key is not base64 of a byte and 32 bytes: copy it again")]
    Encoding,
    /// Another algorithm.
    #[error("the key is for another algorithm: Ed25519 for a log (1) and its cosignatures for a witness (4) are known")]
    Algorithm,
    /// The id is not that of name and key.
    #[error("the id does not belong to this name and key: copy the key again")]
    Id,
    /// A private key of one byte repeated, or a public one under which anybody can sign.
    #[error("the key is a weak one: make one by `CheckpointSigner::generate`")]
    Weak,
    /// A witness's key where a log's belongs.
    #[error("a log's key is of algorithm 1: this is a witness's")]
    NotLog,
    /// A log's key where a witness's belongs.
    #[error("a witness's key is of algorithm 4: this is a log's")]
    NotWitness,
    /// An old key under another name.
    #[error("an old key has the name of the log, as the new one has")]
    OtherName,
    /// The same key twice.
    #[error("this public key is there already: each log and each witness has its own")]
    Repeated,
    /// More must sign than there are.
    #[error("the quorum is above the number of witnesses: add those first")]
    Quorum,
}
