//! How much rows may leave out: what a row lacks is a cell in memory that nobody sent.

/// The most cells that the rows of one body may lack.
const MOST: usize = 1_000_000;

/// The cells that rows lack, as far as they were read.
#[derive(Debug, Default)]
pub(crate) struct Lacking(usize);

impl Lacking {
    /// What is said of a body whose rows lack more.
    pub(crate) const REFUSAL: &str = "the rows lack more than 1000000 values in all: write what is missing as null, or send \
                                      fewer rows at a time";

    /// Counts cells that are not there, before they are made.
    ///
    /// # Errors
    /// [`Lacking::REFUSAL`] when there are too many.
    pub(crate) fn add(&mut self, cells: usize) -> Result<(), String> {
        self.0 = self.0.saturating_add(cells);
        if self.0 > MOST { Err(Self::REFUSAL.to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_lack_has_an_end() {
        let mut lacking = Lacking::default();
        assert_eq!(lacking.add(MOST), Ok(()));
        assert_eq!(lacking.add(1), Err(Lacking::REFUSAL.to_owned()));
        assert!(Lacking::REFUSAL.contains(&MOST.to_string()));
        assert!(Lacking(1).add(usize::MAX).is_err());
    }
}
