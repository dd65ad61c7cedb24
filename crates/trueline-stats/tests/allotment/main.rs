//! The allotment against closed forms and scipy, and whole bandits simulated: what they lose beside an equal split and
//! beside knowing the best arm, that the floor holds, and that the arms' intervals hold although the shares follow them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise, and shows its numbers"
)]

use proptest::prelude::*;
use trueline_stats::allotment::{ArmMeans, RewardCounts, WHOLE, allot, probability_best};
use trueline_stats::prng::SplitMix64;
use trueline_stats::special::ln_beta;

/// Units between two allotments.
const BATCH: u32 = 100;
/// The floor's share of 5 %.
const FLOOR: u32 = 500;

/// `successes` rewards of 1 and `failures` of 0; parts of one for what is no whole number.
fn counts(successes: f64, failures: f64) -> RewardCounts {
    let mut counts = RewardCounts::default();
    let (whole, part) = ((successes + failures) as u64, (successes + failures).fract());
    assert!(part.abs() < 1e-12, "rewards come whole");
    let mean = if whole == 0 { 0.0 } else { successes / whole as f64 };
    (0..whole).for_each(|_| counts.observe(mean).unwrap());
    counts
}

#[test]
fn probabilities_match_scipy() {
    for (arms, golden) in [
        (vec![(1.0, 3.0), (2.0, 2.0)], vec![0.261904761904762, 0.7380952380952381]),
        (
            vec![(30.0, 70.0), (45.0, 60.0), (3.0, 4.0)],
            vec![0.010443088784351616, 0.4669855855430527, 0.5225713256725959],
        ),
        (
            vec![(0.0, 0.0), (900.0, 100.0), (899.0, 101.0), (880.0, 120.0)],
            vec![0.09580301386505151, 0.46784505324611964, 0.41490155057704103, 0.021450382311786143],
        ),
        (vec![(50_000.0, 950_000.0), (50_300.0, 949_700.0)], vec![0.16553923137980747, 0.8344607686192054]),
        (
            vec![(0.0, 1_000.0), (1.0, 1_000.0), (0.5, 300.5)],
            vec![0.0604959826460307, 0.2125299785282595, 0.7269740388257097],
        ),
    ] {
        let arms: Vec<RewardCounts> = arms.iter().map(|(s, f)| counts(*s, *f)).collect();
        for (ours, golden) in probability_best(&arms).iter().zip(golden) {
            assert!((ours - golden).abs() < 1e-9, "{ours} against {golden}");
        }
    }
}

/// P(Beta(a, b) > Beta(c, d)) for whole a: Σ_{i<a} B(c + i, b + d) / ((b + i) B(1 + i, b) B(c, d)).
fn larger(a: u32, b: f64, c: f64, d: f64) -> f64 {
    let term = |i: f64| (ln_beta(c + i, b + d) - (b + i).ln() - ln_beta(1.0 + i, b) - ln_beta(c, d)).exp();
    (0..a).map(|i| term(f64::from(i))).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn two_arms_match_the_closed_form(
        (s1, f1) in (0_u32..400, 0_u32..400), (s2, f2) in (0_u32..400, 0_u32..400),
    ) {
        let count = |s: u32, f: u32| {
            let mut all = RewardCounts::default();
            (0..s).for_each(|_| all.observe(1.0).unwrap());
            (0..f).for_each(|_| all.observe(0.0).unwrap());
            all
        };
        let best = probability_best(&[count(s1, f1), count(s2, f2)]);
        let exact = larger(1 + s1, f64::from(1 + f1), f64::from(1 + s2), f64::from(1 + f2));
        prop_assert!((best[0] - exact).abs() < 1e-9, "{} against {exact}", best[0]);
        prop_assert!((best.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_arm_with_more_successes_of_as_many_is_likelier_the_best(
        successes in proptest::collection::vec(0_u32..200, 2..8),
    ) {
        let arms: Vec<RewardCounts> = successes.iter().map(|s| counts(f64::from(*s), f64::from(200 - s))).collect();
        let best = probability_best(&arms);
        for i in 0..arms.len() {
            for j in 0..arms.len() {
                prop_assert!(successes[i] <= successes[j] || best[i] > best[j] - 1e-12);
            }
        }
    }
}

#[test]
fn equal_arms_are_equally_likely_and_one_alone_is_sure() {
    let arms = vec![counts(12.0, 30.0); 5];
    assert!(probability_best(&arms).iter().all(|p| (p - 0.2).abs() < 1e-12));
    assert_eq!(probability_best(&arms[..1]), [1.0]);
    assert_eq!(probability_best(&[]), Vec::<f64>::new());
}

/// A bandit in a world of coins.
struct Bandit {
    counts: Vec<RewardCounts>,
    means: ArmMeans,
    shares: Vec<u32>,
    random: SplitMix64,
}

impl Bandit {
    fn new(arms: usize, alpha: f64, seed: u64) -> Self {
        let even = vec![1.0 / arms as f64; arms];
        Self {
            counts: vec![RewardCounts::default(); arms],
            means: ArmMeans::new(arms, alpha).unwrap(),
            shares: allot(&even, FLOOR).unwrap(),
            random: SplitMix64::new(seed),
        }
    }

    /// One unit is drawn an arm and rewarded; answers which arm.
    fn step(&mut self, chances: &[f64]) -> usize {
        let lot = (self.random.next_f64() * f64::from(WHOLE)) as u32;
        let mut end = 0;
        let arm = self.shares.iter().position(|share| {
            end += share;
            lot < end
        });
        let arm = arm.unwrap();
        let reward = f64::from(u8::from(self.random.next_f64() < chances[arm]));
        let probabilities: Vec<f64> = self.shares.iter().map(|s| f64::from(*s) / f64::from(WHOLE)).collect();
        self.counts[arm].observe(reward).unwrap();
        self.means.observe(arm, reward, &probabilities).unwrap();
        arm
    }

    fn allot(&mut self) {
        self.shares = allot(&probability_best(&self.counts), FLOOR).unwrap();
        assert!(self.shares.iter().all(|share| *share >= FLOOR), "the floor holds");
    }
}

#[test]
fn it_loses_less_than_an_equal_split_and_not_much_more_than_its_floor_costs() {
    let chances = [0.5, 0.6, 0.55];
    let (worlds, units) = (50, 5_000);
    let mut lost = 0.0;
    for seed in 0..worlds {
        let mut bandit = Bandit::new(3, 0.05, seed);
        for unit in 1..=units {
            lost += 0.6 - chances[bandit.step(&chances)];
            if unit % BATCH == 0 {
                bandit.allot();
            }
        }
    }
    let regret = lost / (worlds as f64);
    let split = f64::from(units) * (0.6 - (0.5 + 0.6 + 0.55) / 3.0);
    let floor = f64::from(units) * 0.05 * (0.1 + 0.05);
    println!("regret {regret:.1} rewards; an equal split {split:.1}; the floor alone {floor:.1}");
    assert!(regret < 0.6 * split, "{regret} against {split}");
    assert!(regret > floor, "nobody knows the best arm from the start");
}

#[test]
fn after_a_change_of_the_world_a_half_life_finds_the_new_best_arm_and_never_forgetting_does_not() {
    let after = |half_life: Option<f64>| {
        let mut bandit = Bandit::new(2, 0.05, 9);
        for unit in 1..=12_000_u32 {
            bandit.step(if unit <= 8_000 { &[0.6, 0.4] } else { &[0.4, 0.6] });
            if unit % BATCH == 0 {
                let factor = half_life.map_or(1.0, |h| (-f64::from(BATCH) / h).exp2());
                bandit.counts.iter_mut().for_each(|c| c.discount(factor).unwrap());
                bandit.allot();
            }
        }
        bandit.shares[1]
    };
    assert!(after(Some(1_000.0)) > 9_000, "{}", after(Some(1_000.0)));
    assert!(after(None) < 5_000, "{}", after(None));
}

/// How many of so many bandits, looked at after every batch, ever had an arm's true mean outside of its interval.
fn ever_missed(bandits: u64, chances: &[f64], units: u32, alpha: f64) -> u64 {
    let missed = |seed: &u64| {
        let mut bandit = Bandit::new(chances.len(), alpha, 1_000 + seed);
        (1..=units).any(|unit| {
            bandit.step(chances);
            if unit % BATCH != 0 {
                return false;
            }
            bandit.allot();
            chances.iter().enumerate().any(|(arm, chance)| !bandit.means.interval(arm).contains(*chance))
        })
    };
    (0..bandits).filter(missed).count() as u64
}

#[test]
fn intervals_hold_at_all_looks_although_the_shares_follow_what_was_seen() {
    // Few units and a high α, so that the bound is tried where it is tight; equal arms mislead the most.
    for chances in [&[0.5, 0.5][..], &[0.3, 0.35, 0.4], &[0.02, 0.05]] {
        let bandits = 200;
        let missed = ever_missed(bandits, chances, 2_000, 0.2);
        println!("{chances:?}: {missed} of {bandits} bandits had an arm outside of its interval at α = 0.2");
        // P(Bin(200, 0.2) > 53) is below 1 %.
        assert!(missed <= 53, "{missed}");
    }
}

#[test]
fn intervals_become_narrow_enough_to_tell_arms_apart() {
    let chances = [0.4, 0.6];
    let mut bandit = Bandit::new(2, 0.05, 4);
    let mut units = 0;
    while bandit.means.interval(1).lower.unwrap() <= bandit.means.interval(0).upper.unwrap() {
        bandit.step(&chances);
        units += 1;
        if units % BATCH == 0 {
            bandit.allot();
        }
        assert!(units < 20_000, "{:?} and {:?}", bandit.means.interval(0), bandit.means.interval(1));
    }
    println!("{units} units until the intervals of 0.4 and 0.6 lie apart, at the shares {:?}", bandit.shares);
    assert!(bandit.means.interval(0).contains(0.4) && bandit.means.interval(1).contains(0.6));
}

/// Where the plain means of arms mislead: units become better while the second arm's share grows.
#[test]
fn intervals_are_not_misled_by_units_whose_mix_moves_with_the_shares() {
    let mut means = ArmMeans::new(2, 0.05).unwrap();
    let mut random = SplitMix64::new(5);
    for t in 0..20_000_u32 {
        let late = t >= 10_000;
        let probabilities = if late { [0.1, 0.9] } else { [0.9, 0.1] };
        let chance = if late { 0.8 } else { 0.2 };
        let arm = usize::from(random.next_f64() < probabilities[1]);
        let reward = f64::from(u8::from(random.next_f64() < chance));
        means.observe(arm, reward, &probabilities).unwrap();
    }
    assert!(means.mean(1).unwrap() - means.mean(0).unwrap() > 0.4, "though the arms are the same");
    let (zero, one) = (means.interval(0), means.interval(1));
    println!(
        "two equal arms whose plain means are {:?} and {:?}: {zero:?}, {one:?}",
        means.mean(0),
        means.mean(1)
    );
    assert!(zero.lower < one.upper && one.lower < zero.upper, "{zero:?} {one:?}");
}
