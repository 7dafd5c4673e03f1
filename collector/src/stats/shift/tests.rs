use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::*;

fn near(found: f64, expected: &Value, what: &str, name: &Value) {
    let expected = expected.as_f64().unwrap();
    let off = (found - expected).abs();
    assert!(off <= 1e-9 * expected.abs().max(1e-3), "{name}: {what} is {found}, not {expected}");
}

fn values(of: &Value) -> Vec<f64> {
    of.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn scipy_says_the_same() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/scipy.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let name = &case["name"];
        let (a, b) = (values(&case["a"]), values(&case["b"]));
        let found = shift(&a, &b, case["confidence"].as_f64().unwrap()).unwrap();
        near(found.estimate, &case["estimate"], "the estimate", name);
        near(found.delta, &case["delta"], "delta", name);
        near(found.test.u, &case["u"], "U", name);
        near(found.test.p, &case["p"], "p", name);
        let Some(interval) = found.interval else {
            assert!(case["interval"].is_null(), "{name}: there is an interval");
            continue;
        };
        near(interval.low, &case["interval"][0], "the lower end", name);
        near(interval.high, &case["interval"][1], "the upper end", name);
        near(interval.confidence, &case["interval"][2], "the confidence", name);
    }
}

#[test]
fn what_a_textbook_says() {
    // Hollander and Wolfe, Nonparametric Statistical Methods, chapter 4: between 12 and 26 weeks and at term.
    let early = [1.15, 0.88, 0.90, 0.74, 1.21];
    let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    let found = shift(&early, &term, 0.95).unwrap();
    assert!((found.test.u - 35.0).abs() < 1e-9, "{found:?}");
    assert!((found.test.p / 2.0 - 0.1272).abs() < 5e-5, "{found:?}");
    assert!((found.estimate - 0.305).abs() < 1e-9, "{found:?}");
    let interval = found.interval.unwrap();
    assert!((interval.low + 0.15).abs() < 1e-9 && (interval.high - 0.76).abs() < 1e-9, "{found:?}");
}

#[test]
fn one_group_to_another_is_the_other_to_the_one_turned_round() {
    let (a, b) = ([0.1, 0.4, 0.45, 0.9, 0.3], [0.2, 0.5, 0.8, 1.4, 0.6, 0.7]);
    let (one, other) = (shift(&a, &b, 0.9).unwrap(), shift(&b, &a, 0.9).unwrap());
    assert!((one.estimate + other.estimate).abs() < 1e-12);
    assert!((one.delta + other.delta).abs() < 1e-12);
    assert!((one.test.p - other.test.p).abs() < 1e-12);
    let (one, other) = (one.interval.unwrap(), other.interval.unwrap());
    assert!((one.low + other.high).abs() < 1e-12 && (one.high + other.low).abs() < 1e-12);
}

#[test]
fn as_few_as_have_an_interval_are_known() {
    for confidence in [0.9, 0.95, 0.99, 0.998, 0.9999] {
        let fewest = fewest(confidence, 0, 0);
        let group = |n: usize| (0..n).map(|at| approximate(count(at))).collect::<Vec<_>>();
        let has = |n| shift(&group(n), &group(n), confidence).unwrap().interval.is_some();
        assert!(has(fewest) && !has(fewest - 1), "{confidence}: {fewest}");
    }
    assert_eq!(fewest(0.95, 0, 0), 4);
    assert_eq!(
        (fewest(0.99, 0, 0), fewest(0.99, 1, 16)),
        (5, 3),
        "many on one side help the other"
    );
    assert_eq!(shift(&[], &[1.0], 0.95), None);
}

#[test]
fn thousands_of_hosts_a_side_are_no_matter() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut group =
        |shift: f64| (0..5_000).map(|_| shift + random.random::<f64>()).collect::<Vec<_>>();
    let (a, b) = (group(0.0), group(0.1));
    let found = shift(&a, &b, 0.998).unwrap();
    let interval = found.interval.unwrap();
    assert!(interval.low < 0.1 && 0.1 < interval.high, "{found:?}");
    assert!(interval.high - interval.low < 0.05, "{found:?}");
    assert!(found.test.p < 1e-9 && found.delta > 0.1, "{found:?}");
}

/// How often the interval covers the true shift, and what it states.
fn coverage(a: usize, b: usize, confidence: f64, draw: fn(&mut ChaCha8Rng) -> f64) -> (f64, f64) {
    const REPETITIONS: u32 = 1_500;
    const SHIFT: f64 = 0.3;
    let mut random = ChaCha8Rng::seed_from_u64(count(a * 100 + b));
    let (mut covered, mut stated) = (0, 0.0);
    for _ in 0..REPETITIONS {
        let first: Vec<f64> = (0..a).map(|_| draw(&mut random)).collect();
        let second: Vec<f64> = (0..b).map(|_| SHIFT + draw(&mut random)).collect();
        let interval = shift(&first, &second, confidence).unwrap().interval.unwrap();
        covered += u32::from(interval.low <= SHIFT && SHIFT <= interval.high);
        stated = interval.confidence;
    }
    (f64::from(covered) / f64::from(REPETITIONS), stated)
}

#[test]
fn intervals_cover_what_they_state() {
    let even: fn(&mut ChaCha8Rng) -> f64 = |random| random.random();
    let heavy: fn(&mut ChaCha8Rng) -> f64 = |random| {
        let share: f64 = random.random();
        (share / (1.0 - share)).cbrt()
    };
    for (a, b, confidence) in [(4, 4, 0.95), (5, 9, 0.9), (12, 12, 0.95), (8, 70, 0.9)] {
        for draw in [even, heavy] {
            let (covered, stated) = coverage(a, b, confidence, draw);
            // About three standard errors of what is simulated; seeds are fixed.
            assert!((covered - stated).abs() < 0.022, "{a} and {b}: {covered} of {stated}");
            assert!(stated >= confidence);
        }
    }
}
