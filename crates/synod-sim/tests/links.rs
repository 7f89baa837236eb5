//! All ways in which the six directed links of three members can be open or cut.

use synod_sim::run_links;

#[test]
fn whoever_reaches_a_majority_makes_progress() {
    for open in 0..64 {
        // Other seeds have other leaders when the links are cut, and other timeouts.
        for seed in 0..6 {
            run_links(seed, open).unwrap_or_else(|violation| {
                panic!("links {open:06b}, seed {seed}: {violation}");
            });
        }
    }
}
