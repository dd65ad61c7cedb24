//! Asking the endpoint, telling labels, deploying.

use super::{Client, Done, End};
use crate::endpoint::{self, Prediction, VERSIONS};
use crate::story::Pending;

impl Client<'_> {
    /// A few requests; labels for some of their rows and for some of earlier ones; perhaps another version.
    pub(super) fn serve(&mut self) -> Done {
        for _ in 0..self.rng.within(1..6) {
            let rows = if self.rng.chance(0.7) { 1 } else { self.rng.within(2..20) };
            let asked = self.ask(rows)?;
            self.story.predictions.extend(asked);
        }
        for _ in 0..self.rng.below(4) {
            self.label()?;
        }
        if self.story.deployed.is_some() && self.rng.chance(0.4) {
            self.deploy()?;
        }
        Ok(())
    }

    fn ask(&mut self, rows: u64) -> Done<Vec<Prediction>> {
        // Numbers that are the same as float32 and after any way through decimal text.
        let input = |n: u64| f64::from(u16::try_from(n).unwrap_or(0)) / 8.0;
        let inputs: Vec<f64> = (0..rows).map(|_| input(self.rng.below(10_000))).collect();
        self.send(Pending::Ask, |api| endpoint::ask(api, &inputs))?.map_err(End::Finding)
    }

    /// Some predictions are told another truth later, some the same truth again.
    fn label(&mut self) -> Done {
        let among = self.story.predictions.len() as u64;
        let prediction = usize::try_from(self.rng.below(among)).unwrap_or(0);
        let Prediction { id, labels, .. } = self.story.predictions[prediction].clone();
        let again = labels.last().filter(|_| self.rng.chance(0.3));
        let value = again.copied().unwrap_or_else(|| self.rng.number() >> 32);
        self.send(Pending::Label { prediction, value }, |api| endpoint::label(api, &id, value))?;
        self.story.predictions[prediction].told(value);
        Ok(())
    }

    /// From the answer on, the new version alone answers.
    fn deploy(&mut self) -> Done {
        let now = self.story.deployed;
        let version = VERSIONS.into_iter().find(|v| Some(*v) != now).unwrap_or(VERSIONS[0]);
        self.send(Pending::Deploy { version }, |api| endpoint::deploy(api, version))?;
        self.story.deployed = Some(version);
        let asked = self.ask(1)?;
        let answered = asked[0].version;
        self.story.predictions.extend(asked);
        if answered == version {
            return Ok(());
        }
        Err(End::Finding(format!("version {answered} answered after version {version} was deployed")))
    }
}
