//! The decision tables of recovery: what was seen, row by row, and what it means.
//!
//! The question is always the same: is what is missing here something that had been synced, and
//! may therefore have been acknowledged? If anything proves so, the log is damaged and must not be
//! used. Otherwise it was never acknowledged, and is cut off.
//!
//! A disk may persist the sectors of an unsynced write in any order, so an intact record behind a
//! broken one proves nothing by being intact. It proves something by what it *says*: it was
//! written when all below its `synced` position was durable.
//!
//! What cannot be told: damage to the very last synced group looks like a torn write, until
//! something written later speaks for it. That is the next record of any kind, the record written
//! when the log is opened, or the one of [`crate::Wal::seal`].

use crate::scan::At;

/// What was seen of the file of a segment that the log needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FileFacts {
    pub(crate) present: bool,
    pub(crate) head: Head,
    pub(crate) ours: bool,
    pub(crate) size_option_same: bool,
    pub(crate) number_same: bool,
    pub(crate) length_right: bool,
}

/// What the header of a segment looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Head {
    Broken,
    Newer,
    Valid,
}

/// What to do with the file of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FileVerdict {
    Use,
    Missing,
    BrokenHeader,
    NewerVersion,
    ForeignOwner,
    OtherSize,
    OtherNumber,
    WrongLength,
}

/// What was seen where the walk through a segment stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StopFacts {
    pub(crate) seal: Seal,
    pub(crate) at: At,
    pub(crate) beyond: BeyondStop,
}

/// What the next segment says about the end of this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seal {
    /// This is the last segment.
    None,
    /// The walk ended where, and with the digest, that it says.
    Matches,
    /// It did not.
    Differs,
}

/// What is behind the place where the walk stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BeyondStop {
    Zeros,
    Noise,
    /// Headers of this segment; none says that this place had been synced.
    Unproven,
    /// A header says that this place had been synced.
    Proof,
}

/// What the end of a walk means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopVerdict {
    /// All records of a segment that is followed by others.
    Whole,
    /// The log ends here; nothing was ever written behind.
    CleanEnd,
    /// The log ends here, before remains of the file's earlier life or of an unfinished write.
    RemainsBehind,
    /// The log ends here; records were written behind that were never synced.
    TornTail,
    /// Records that had been sealed by the next segment are gone.
    SealBroken,
    /// Records that had been synced are gone.
    SyncedLost,
}

/// One row of a table: the cases it covers, and what they mean. `None` covers any value.
struct FileRow {
    present: bool,
    head: Option<Head>,
    ours: Option<bool>,
    size_option_same: Option<bool>,
    number_same: Option<bool>,
    length_right: Option<bool>,
    verdict: FileVerdict,
}

struct StopRow {
    seal: Seal,
    at: &'static [At],
    beyond: &'static [BeyondStop],
    verdict: StopVerdict,
}

#[rustfmt::skip]
const FILE_TABLE: &[FileRow] = {
    const fn row(
        present: bool,
        head: Option<Head>,
        ours: Option<bool>,
        size_option_same: Option<bool>,
        number_same: Option<bool>,
        length_right: Option<bool>,
        verdict: FileVerdict,
    ) -> FileRow {
        FileRow { present, head, ours, size_option_same, number_same, length_right, verdict }
    }
    use FileVerdict as V;
    use Head::{Broken, Newer, Valid};
    const T: Option<bool> = Some(true);
    const F: Option<bool> = Some(false);
    const X: Option<bool> = None;
    &[
        //  file   header         ours size number length
        row(false, None,          X,   X,   X,     X,     V::Missing),
        row(true,  Some(Broken),  X,   X,   X,     X,     V::BrokenHeader),
        row(true,  Some(Newer),   X,   X,   X,     X,     V::NewerVersion),
        row(true,  Some(Valid),   F,   X,   X,     X,     V::ForeignOwner),
        row(true,  Some(Valid),   T,   F,   X,     X,     V::OtherSize),
        row(true,  Some(Valid),   T,   T,   F,     X,     V::OtherNumber),
        row(true,  Some(Valid),   T,   T,   T,     F,     V::WrongLength),
        row(true,  Some(Valid),   T,   T,   T,     T,     V::Use),
    ]
};

#[rustfmt::skip]
const STOP_TABLE: &[StopRow] = {
    const fn row(
        seal: Seal,
        at: &'static [At],
        beyond: &'static [BeyondStop],
        verdict: StopVerdict,
    ) -> StopRow {
        StopRow { seal, at, beyond, verdict }
    }
    use At::{Broken, End, Noise, Zeros};
    use BeyondStop as B;
    use StopVerdict as V;
    const ANY_AT: &[At] = &[End, Zeros, Noise, Broken];
    const ANY_BEYOND: &[B] = &[B::Zeros, B::Noise, B::Unproven, B::Proof];
    &[
        //  next segment    at the stop       behind it                  meaning
        row(Seal::Matches,  ANY_AT,           ANY_BEYOND,                V::Whole),
        row(Seal::Differs,  ANY_AT,           ANY_BEYOND,                V::SealBroken),
        row(Seal::None,     ANY_AT,           &[B::Proof],               V::SyncedLost),
        row(Seal::None,     ANY_AT,           &[B::Unproven],            V::TornTail),
        row(Seal::None,     &[Broken],        &[B::Zeros, B::Noise],     V::TornTail),
        row(Seal::None,     &[Noise],         &[B::Zeros, B::Noise],     V::RemainsBehind),
        row(Seal::None,     &[End, Zeros],    &[B::Noise],               V::RemainsBehind),
        row(Seal::None,     &[End, Zeros],    &[B::Zeros],               V::CleanEnd),
    ]
};

impl FileRow {
    fn covers(&self, facts: &FileFacts) -> bool {
        self.present == facts.present
            && self.head.is_none_or(|head| head == facts.head)
            && self.ours.is_none_or(|ours| ours == facts.ours)
            && self.size_option_same.is_none_or(|same| same == facts.size_option_same)
            && self.number_same.is_none_or(|same| same == facts.number_same)
            && self.length_right.is_none_or(|right| right == facts.length_right)
    }
}

impl StopRow {
    fn covers(&self, facts: &StopFacts) -> bool {
        self.seal == facts.seal
            && self.at.contains(&facts.at)
            && self.beyond.contains(&facts.beyond)
    }
}

/// What to do with the file of a segment.
pub(crate) fn decide_file(facts: &FileFacts) -> FileVerdict {
    let row = FILE_TABLE.iter().find(|row| row.covers(facts));
    row.expect("the table covers every case, which a test enumerates").verdict
}

/// What the end of a walk means.
pub(crate) fn decide_stop(facts: &StopFacts) -> StopVerdict {
    let row = STOP_TABLE.iter().find(|row| row.covers(facts));
    row.expect("the table covers every case, which a test enumerates").verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_exactly_one_row() {
        let flags = [false, true];
        let mut cases = 0;
        for bits in 0..32_u8 {
            let [present, ours, size_option_same, number_same, length_right] =
                [1, 2, 4, 8, 16].map(|bit| flags[usize::from(bits & bit != 0)]);
            for head in [Head::Broken, Head::Newer, Head::Valid] {
                let facts =
                    FileFacts { present, head, ours, size_option_same, number_same, length_right };
                let rows = FILE_TABLE.iter().filter(|row| row.covers(&facts)).count();
                assert_eq!(rows, 1, "{facts:?}");
                let all_well = present
                    && head == Head::Valid
                    && ours
                    && size_option_same
                    && number_same
                    && length_right;
                assert_eq!(decide_file(&facts) == FileVerdict::Use, all_well, "{facts:?}");
                cases += 1;
            }
        }
        assert_eq!(cases, 96);
    }

    #[test]
    fn every_stop_has_exactly_one_row() {
        let mut used = vec![0; STOP_TABLE.len()];
        for seal in [Seal::None, Seal::Matches, Seal::Differs] {
            for at in [At::End, At::Zeros, At::Noise, At::Broken] {
                for beyond in
                    [BeyondStop::Zeros, BeyondStop::Noise, BeyondStop::Unproven, BeyondStop::Proof]
                {
                    let facts = StopFacts { seal, at, beyond };
                    let rows: Vec<usize> = (0..STOP_TABLE.len())
                        .filter(|&row| STOP_TABLE[row].covers(&facts))
                        .collect();
                    assert_eq!(rows.len(), 1, "{facts:?} is covered by rows {rows:?}");
                    used[rows[0]] += 1;
                    let verdict = decide_stop(&facts);
                    let refused =
                        matches!(verdict, StopVerdict::SealBroken | StopVerdict::SyncedLost);
                    let proven = seal == Seal::Differs
                        || (seal == Seal::None && beyond == BeyondStop::Proof);
                    assert_eq!(refused, proven, "{facts:?}");
                }
            }
        }
        assert!(used.iter().all(|&times| times > 0), "rows without a case: {used:?}");
    }
}
