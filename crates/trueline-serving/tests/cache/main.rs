//! More models than fit into memory: every one is answered, the budget is held, and what must stay loaded does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod house;

use house::{House, ask, endpoint, name, size, wait_until};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use trueline_serving::rollout::{Shadow, ShadowPhase};
use trueline_serving::{HostError, ModelMemory, ServingError, Variant};
use trueline_stats::hash::mix64;

const MODELS: usize = 60;
const FIT: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_models_answer_in_the_memory_of_ten() {
    let one = size().await;
    let house = House::published(MODELS, ModelMemory::Bytes(FIT * one)).await;
    let mut expected = Vec::new();
    for i in 0..MODELS {
        expected.push(house.expected(i).await);
    }
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "each answers otherwise");
    let asking = (0..8_u64).map(|thread| {
        let (plane, expected) = (house.plane.clone(), expected.clone());
        tokio::spawn(async move {
            for step in 0..150_u64 {
                let i = usize::try_from(mix64(thread * 1_000 + step) % MODELS as u64).unwrap();
                let answer = ask(&plane, &name(i), None).await.unwrap();
                assert_eq!(format!("{:?}", answer.predictions.unwrap()), expected[i], "{i}");
                let used = plane.memory();
                assert!(used.bytes <= (FIT + 1) * one, "{used:?}");
            }
        })
    });
    for done in asking.collect::<Vec<_>>() {
        done.await.unwrap();
    }
    let used = house.plane.memory();
    assert!(used.bytes <= FIT * one && used.loaded <= FIT, "{used:?}");
    assert!(house.files.all_begun() > 3 * MODELS, "models were unloaded and loaded again");
    let ready = house.plane.readiness();
    assert_eq!((ready.endpoints, ready.left_out), (MODELS, 0), "what is not in memory is ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_longest_ago_is_unloaded() {
    let house = House::published(3, ModelMemory::Bytes(2 * size().await)).await;
    assert_eq!([0, 1, 2].map(|i| house.is_loaded(&name(i))), [false, true, true]);
    house.ask("m1", None).await.unwrap();
    house.ask("m0", None).await.unwrap();
    assert_eq!([0, 1, 2].map(|i| house.is_loaded(&name(i))), [true, true, false]);
    assert_eq!(house.files.begun("m1"), 1, "it was never unloaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_many_wait_for_is_loaded_once_and_nobody_waits_beyond_the_deadline() {
    let house = House::published(2, ModelMemory::Bytes(size().await)).await;
    assert!(!house.is_loaded("m0"));
    house.files.hold();
    let soon = Instant::now() + Duration::from_millis(20);
    let late = house.ask("m0", Some(soon)).await.unwrap();
    assert!(matches!(late.predictions, Err(ServingError::TimedOut(_))), "{late:?}");
    let plane = &house.plane;
    let waiting: Vec<_> = (0..300)
        .map(|_| {
            let plane = plane.clone();
            tokio::spawn(async move { ask(&plane, "m0", None).await.unwrap().predictions })
        })
        .collect();
    // All that may wait do, and the others were told. One that has gone has its place until it would have had its turn, so that
    // those who come and go are no more than those who stay.
    wait_until("those beyond the bound are refused", async || {
        waiting.iter().filter(|one| one.is_finished()).count() == 300 - 255
    })
    .await;
    assert_eq!(house.files.begun("m0"), 2, "once when it was published, once for all of them");
    house.files.release();
    let (mut answered, mut refused) = (0, 0);
    for one in waiting {
        match one.await.unwrap() {
            Ok(_) => answered += 1,
            Err(ServingError::Busy(why)) => {
                assert!(why.contains("wait for version m0/1 to be loaded"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((answered, refused), (255, 45));
    assert_eq!(house.files.begun("m0"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_cannot_be_loaded_again_says_why_and_is_tried_until_it_can() {
    let house = House::published(2, ModelMemory::Bytes(size().await)).await;
    house.files.damage("m0");
    house.files.hold();
    let ask = async || house.ask("m0", None).await.unwrap().predictions.unwrap_err();
    let begun = async || house.files.begun("m0") == 2;
    let (one, other, ()) = tokio::join!(ask(), ask(), async {
        wait_until("it is being loaded", begun).await;
        house.files.release();
    });
    for told in [one, other] {
        assert!(matches!(&told, ServingError::NotLoaded(why) if why.contains("its disk is gone")), "{told}");
    }
    assert_eq!(house.files.begun("m0"), 2, "not tried again for each who waits");
    let ready = house.plane.readiness();
    assert_eq!((ready.endpoints, ready.left_out), (1, 1));
    assert!(!house.plane.answers("default", "m0") && house.plane.answers("default", "m1"));
    assert!(house.plane.why_left_out("default", "m0").unwrap().contains("its disk is gone"));

    let (stop, stopping) = watch::channel(false);
    let tending = tokio::spawn({
        let plane = house.plane.clone();
        async move { plane.tend(stopping).await }
    });
    house.files.repair();
    wait_until("it is loaded without being asked", async || house.plane.answers("default", "m0")).await;
    assert!(house.ask("m0", None).await.unwrap().predictions.is_ok());
    stop.send_replace(true);
    tending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rollout_asks_is_never_unloaded() {
    let house = House::new(8, ModelMemory::Bytes(4 * size().await));
    let both = vec![Variant::new(house.spec(0), 1), Variant::new(house.spec(1), 1)];
    let mut rolling = endpoint("rolling", both);
    rolling.rollout = Some("r1".to_owned());
    house.plane.publish(rolling).await.unwrap();
    let shadow: Shadow = ShadowPhase::default().of(&house.spec(2));
    let mut shadowing = endpoint("shadowing", vec![Variant::new(house.spec(3), 1)]);
    (shadowing.rollout, shadowing.shadow) = (Some("r2".to_owned()), Some(shadow));
    house.plane.prepare(&shadowing.project, &[Variant::new(house.spec(2), 1)]).await.unwrap();
    house.plane.publish(shadowing).await.unwrap();
    for i in 4..8 {
        house.publish(i).await;
    }
    for i in (4..8).chain(4..8) {
        house.ask(&name(i), None).await.unwrap().predictions.unwrap();
    }
    assert!(house.is_loaded("rolling") && house.is_loaded("shadowing"));
    assert!(house.ask("shadowing", None).await.unwrap().shadow.is_some(), "the candidate is there");
    assert!((0..4).all(|i| house.files.begun(&name(i)) == 1), "none of the four was loaded again");
    assert!((4..8).all(|i| house.files.begun(&name(i)) > 1), "the others make room for each other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_loads_what_fits_and_the_rest_when_it_is_asked() {
    let memory = ModelMemory::Bytes(FIT * size().await);
    let house = House::published(MODELS, memory).await;
    let house = house.restarted(memory).await;
    assert_eq!(house.plane.restore().await.unwrap(), MODELS);
    assert_eq!(house.files.all_begun(), FIT, "no model was loaded for nothing");
    assert_eq!(house.plane.readiness().endpoints, MODELS);
    for i in 0..MODELS {
        assert_eq!(house.plane.cards("default", &name(i)).len(), 1, "what it takes is known");
        house.ask(&name(i), None).await.unwrap().predictions.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_does_not_wait_for_a_candidate_in_shadow_which_is_tried_until_it_can_be_loaded() {
    let house = House::new(2, ModelMemory::Unlimited);
    let shadow: Shadow = ShadowPhase::default().of(&house.spec(1));
    let mut shadowing = endpoint("shadowing", vec![Variant::new(house.spec(0), 1)]);
    (shadowing.rollout, shadowing.shadow) = (Some("r".to_owned()), Some(shadow));
    house.plane.publish(shadowing).await.unwrap();
    house.plane.persist().unwrap();
    let house = house.restarted(ModelMemory::Unlimited).await;
    house.files.damage("m1");
    assert_eq!(house.plane.restore().await.unwrap(), 1);
    wait_until("it failed", async || house.files.begun("m1") > 0).await;
    assert!(house.ask("shadowing", None).await.unwrap().shadow.is_none());
    assert_eq!(house.plane.shadowed("r", 1).1, 1, "that it was not asked is counted");
    house.files.repair();
    wait_until("it is asked", async || house.ask("shadowing", None).await.unwrap().shadow.is_some()).await;
}

/// Loads `m0`, which is slow, and `m1`, which came later and is loaded before it; there is room for one of them.
async fn one_behind_a_slow_one(house: &House) -> [Result<(), HostError>; 2] {
    house.files.hold_one("m0");
    let hosted = house.hosted();
    let load = |i: usize| {
        let (hosted, url) = (hosted.clone(), house.url(i));
        tokio::spawn(async move { hosted.load(&name(i), &url).await })
    };
    let slow = load(0);
    wait_until("the first is on its way", async || house.files.begun("m0") == 1).await;
    let quick = load(1);
    wait_until("the second is in memory", async || house.plane.memory().loaded == 1).await;
    assert!(!quick.is_finished() && hosted.get("m1").is_err(), "nothing is decided before its turn");
    house.files.release();
    [slow.await.unwrap(), quick.await.unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_models_that_are_loaded_beside_each_other_the_one_that_came_first_stays() {
    let one = size().await;
    let house = House::new(3, ModelMemory::Fixed(one * 3 / 2));
    let [slow, quick] = one_behind_a_slow_one(&house).await;
    assert!(slow.is_ok(), "{slow:?}");
    assert!(matches!(quick, Err(HostError::NoMemory { needed, .. }) if needed == 2 * one), "{quick:?}");
    assert_eq!(house.plane.memory().bytes, one, "what was refused is gone");
    house.hosted().load("m2", &house.url(2)).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_comes_to_nothing_takes_no_room_from_the_one_behind_it() {
    let house = House::new(2, ModelMemory::Fixed(size().await * 3 / 2));
    house.files.damage("m0");
    let [slow, quick] = one_behind_a_slow_one(&house).await;
    assert!(slow.is_err() && quick.is_ok(), "{slow:?} {quick:?}");
}
