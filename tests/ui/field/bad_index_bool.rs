//! An index over two values is the values.
tower_ward::classes! { pub Clinical = "clinical"; }
tower_ward::columns! { pub Pregnant: bool = "patients"."pregnant" as Clinical, indexed; }

fn main() {}
