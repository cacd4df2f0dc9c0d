//! Reads a ledger's files as a stranger would: whatever is a canonical record in them.

use std::path::Path;

use tower_ward::audit::Record;

/// The records that are on the disk now, in their order.
pub(crate) fn records_on_disk(dir: &Path) -> Vec<Record> {
    const START: &[u8] = br#"{"v":1,"index":"#;
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect())
        .unwrap_or_default();
    files.sort();
    let mut records = Vec::new();
    for file in files {
        let bytes = match std::fs::read(file) {
            // A checkpoint that was being written has its own name by now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.expect("a file of the ledger"),
        };
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(START.len()).position(|window| window == START) {
            at += found;
            let mut stream = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<serde_json::Value>();
            // A record that is being written is not whole yet.
            if !matches!(stream.next(), Some(Ok(_))) {
                break;
            }
            let end = at + stream.byte_offset();
            records.push(Record::from_bytes(&bytes[at..end]).expect("a canonical record"));
            at = end;
        }
    }
    records.sort_by_key(Record::index);
    records
}
