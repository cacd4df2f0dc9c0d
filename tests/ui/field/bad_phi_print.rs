//! An opened value does not print.
use tower_ward::field::Phi;

pub fn log(note: &Phi<String>) {
    println!("{note}");
}

fn main() {}
