//! Every page, with realistic data and with none, through the crate's public door.

mod samples;

use askama::Template as _;
use trueline_web::pages::Preview;
use trueline_web::parts::TagRow;

fn page(name: &str) -> String {
    match samples::all().into_iter().find(|(n, _)| *n == name) {
        Some((_, html)) => html,
        None => panic!("there is no sample called {name}"),
    }
}

#[test]
fn every_page_is_whole_and_keeps_the_content_policy() {
    for (name, html) in samples::all() {
        assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"), "{name}");
        assert_eq!(html.matches("<h1>").count(), 1, "{name} has one heading");
        assert!(!html.contains(" style="), "{name} has an inline style");
        assert!(!html.contains("<style"), "{name} has an inline style sheet");
        assert!(!html.contains("javascript:"), "{name} has a script in a link");
        for script in html.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/assets/"), "{name} has an inline script: {script:.60}");
        }
        for word in [" onclick=", " onload=", " onsubmit=", " hx-on"] {
            assert!(!html.contains(word), "{name} has {word}");
        }
        assert!(!html.contains("/assets/missing/"), "{name} loads a file that isn't there");
    }
}

#[test]
fn every_icon_is_in_the_sprite() {
    for (name, html) in samples::all() {
        for id in html.split("href=\"#i-").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(html.contains(&format!("id=\"i-{id}\"")), "{name} uses {id}");
        }
    }
}

#[test]
fn every_id_is_used_once_and_every_label_finds_its_element() {
    for (name, html) in samples::all() {
        let mut ids: Vec<_> =
            html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{name} has an id twice");
        for attribute in [" aria-labelledby=\"", " aria-describedby=\"", " form=\"", " popovertarget=\""] {
            for target in html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                for id in target.split(' ') {
                    assert!(ids.contains(&id), "{name}: {attribute}{id}");
                }
            }
        }
    }
}

#[test]
fn a_page_stays_within_its_budget_before_compression() {
    for (name, html) in samples::all() {
        // Tables of the samples are full pages; HTML compresses to a tenth of this.
        assert!(html.len() < 120_000, "{name} has {} bytes", html.len());
    }
}

#[test]
fn what_users_wrote_is_escaped() {
    let hostile = samples::HOSTILE;
    let mut run = samples::run(true, trueline_web::pages::RunTab::Overview);
    run.name = hostile.into();
    run.note = Some(TagRow { value: Some(hostile.into()), ..TagRow::default() });
    run.tags[0].history[0].value = Some(hostile.into());
    run.source = hostile.into();
    run.params[0].value = hostile.into();
    run.tags[0].key = hostile.into();
    run.inputs[0].source = hostile.into();
    run.lineage.from[0].label = hostile.into();
    let mut ledger = samples::ledger(true);
    ledger.events[0].resource.label = hostile.into();
    ledger.events[1].detail = hostile.into();
    let mut prediction = samples::prediction(true);
    prediction.answer = hostile.into();
    prediction.stations[0].values[0].1[0].value = hostile.into();
    let mut endpoint = samples::endpoint(true);
    endpoint.history[0].reason = hostile.into();
    let ask = endpoint.ask.as_mut().unwrap();
    ask.body = hostile.into();
    ask.snippets[0].text = hostile.into();
    let mut logged = samples::logged_predictions(3, false);
    logged.rows[0].answer = hostile.into();
    logged.rows[0].key = Some(hostile.into());
    let mut charts = samples::run(true, trueline_web::pages::RunTab::Charts);
    charts.sections[0].charts[0].chart.title = hostile.into();
    charts.sections[0].charts[0].chart.series[0].name = format!("\"'{hostile}");
    let mut traced = samples::trace(true);
    traced.roots[0].name = hostile.into();
    traced.row.assessments[0].rationale = hostile.into();
    let rendered = [
        run.render(),
        ledger.render(),
        prediction.render(),
        endpoint.render(),
        logged.render(),
        charts.render(),
        traced.render(),
        samples::run_with_open(Preview::Text { text: hostile.into(), first: None }).render(),
        samples::search(false).render(),
    ];
    for html in rendered {
        let html = html.unwrap();
        assert!(!html.contains("<script>"));
        assert!(html.contains("&#60;script&#62;"));
    }
}

#[test]
fn only_pages_with_charts_load_the_chart_library() {
    for (name, html) in samples::all() {
        let wants = matches!(name, "run-charts" | "run-system" | "monitor" | "compare");
        assert_eq!(html.contains("echarts"), wants, "{name}");
    }
}

#[test]
fn every_section_is_a_link_and_the_own_one_is_marked() {
    let html = page("home");
    assert!(html.contains("aria-current=\"page\""));
    for section in [
        "Experiments",
        "Models",
        "Endpoints",
        "Data",
        "Features",
        "Monitors",
        "Incidents",
        "Pipelines",
        "Ledger",
    ] {
        assert!(html.contains(&format!(">{section}</a>")), "{section}");
    }
}

#[test]
fn an_empty_project_teaches_the_first_command() {
    let html = page("home-empty");
    assert!(html.contains("export MLFLOW_TRACKING_URI=http://127.0.0.1:5700"));
    assert!(html.contains("Nothing waits for you"));
}

#[test]
fn the_table_of_runs_keeps_its_state_in_links() {
    let html = page("experiment");
    assert!(html.contains("aria-sort=\"descending\""));
    assert!(html.contains("?sort=metrics.val_auc\""), "a second click turns the order");
    assert!(html.contains("<td class=\"num missing\">"));
    assert!(html.contains("form=\"compare\""));
    assert!(html.contains(
        "rel=\"next\" href=\"/p/churn-prediction/experiments/12?sort=-metrics.val_auc&#38;cursor=50\""
    ));
    let bad = page("experiment-bad-filter");
    assert!(bad.contains("aria-invalid=\"true\"") && bad.contains("at character 17"));
}

#[test]
fn the_ledger_tells_events_in_words() {
    let html = page("ledger");
    assert!(html.contains("pointed alias"), "{html}");
    assert!(html.contains("48,214 events"));
    assert!(html.contains("hx-post=\"/ledger/verify\""));
    assert!(page("ledger-failing").contains("The first bad entry is <a href=\"/ledger/47002\">47002</a>"));
    assert!(page("ledger-empty").contains("Never verified"));
}

#[test]
fn verifying_answers_with_the_part_that_htmx_replaces() {
    let full = samples::ledger(true);
    let part = trueline_web::pages::VerificationPart { shell: full.shell, verification: full.verification };
    let html = part.render().unwrap();
    assert!(html.trim_start().starts_with("<section class=\"card\" id=\"verification\""));
    assert!(html.contains("Sound"));
}

#[test]
fn an_erased_payload_names_the_event_that_erased_it() {
    let html = page("event-erased");
    assert!(html.contains("with event <a href=\"/ledger/48201\">48201</a>"));
    assert!(!html.contains("aria-label=\"Payload\""));
    assert!(page("event").contains("auc_vs_champion"));
}

#[test]
fn a_secret_is_shown_once_and_never_in_debug_output() {
    let settings = samples::settings("tokens", true);
    assert!(settings.render().unwrap().contains("tl_example_shown_once_4Zr8"));
    assert!(!format!("{settings:?}").contains("tl_example_shown_once_4Zr8"));
    assert!(!page("settings-tokens-empty").contains("tl_example"));
}

#[test]
fn an_error_says_what_why_and_what_to_do() {
    let html = page("error-outside");
    for text in [
        "Version not found",
        "its newest is 8",
        "Look at the versions",
        "/docs/errors/version-not-found",
        "01jx4q8m2v7k",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("class=\"side\""), "who is not signed in sees no sections");
}

#[test]
fn a_version_shows_its_gates_with_numbers_and_who_decided() {
    let html = page("version");
    for text in [
        "0.912345",
        "0.41 ms",
        "−0.02",
        ">Version 6</a>",
        "No: the policy was changed since",
        ">Approve</button>",
    ] {
        assert!(html.contains(text), "{text}");
    }
    let mut closed = samples::version(true);
    let why = "You are an author of this version, and nobody decides on their own work.";
    if let Some(release) = &mut closed.release {
        release.form = trueline_web::pages::DecisionForm::Closed(why.into());
    }
    let html = closed.render().unwrap();
    assert!(html.contains(why) && !html.contains(">Approve</button>"));
    assert!(!page("version-empty").contains("id=\"release\""), "without a policy there is nothing to pass");
}

#[test]
fn a_rollout_tells_its_steps_its_evidence_and_who_may_end_it() {
    let html = page("endpoint");
    for part in [
        "Rollout of <a href=\"/p/churn-prediction/models/churn/versions/7\">churn 7</a>",
        "hx-select=\"#rollout\"",
        "at least 100 requests and 1 min",
        "0.429 to 0.508",
        "0.000125",
        "a first look at 7",
        "Rollouts before it",
        "1204 requests asked, 1 failed, 12 not asked because too many waited",
        "numbers by 0.212 at the most, most of all <a href=\"/p/churn-prediction/predictions/01\">01</a>",
        "it fell over",
        "name=\"decision\" value=\"cancel\"",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!page("endpoint-empty").contains("id=\"rollout\""));
}

#[test]
fn a_bandit_that_runs_can_be_stopped_by_who_may_with_its_shares_or_for_one_version() {
    let html = page("endpoint");
    for part in [
        "popovertarget=\"bandit-stop\"",
        "action=\"/p/churn-prediction/endpoints/churn-score/bandit\"",
        "<option value=\"\">the shares stay as they are</option>",
        "<option value=\"churn/7\">churn 7 answers alone</option>",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let mut reviewed = samples::endpoint(true);
    reviewed.bandit.as_mut().unwrap().can_stop = false;
    assert!(!reviewed.render().unwrap().contains("bandit-stop"));
}

#[test]
fn a_monitor_says_unknown_while_labels_are_missing_and_names_what_is_beyond_its_level() {
    let html = page("monitor");
    assert!(html.contains("<td class=\"num muted\">unknown</td>"));
    assert!(html.contains("drift of tenure, a and 2 more"));
    assert!(html.contains("/p/churn-prediction/monitors/churn-inputs/series/quality%3Aauc"));
    assert!(page("monitor-empty").contains("No windows yet"));
}

#[test]
fn an_endpoint_names_what_a_rollback_returns_to_and_keeps_its_traffic_fresh() {
    let html = page("endpoint");
    for text in [
        "hx-get=\"/p/churn-prediction/endpoints/churn-score/live\"",
        "action=\"/p/churn-prediction/endpoints/churn-score/rollback\"",
        "to the versions of generation 11?",
        "5 took twice the time",
        "90 %",
        "<strong>371</strong> requests/s",
        "request refused 1204",
        "not answered now 0",
        "<title>generation 12</title>",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("hx-swap-oob"), "the badge stands beside the title once");
    let again = trueline_web::pages::LivePart { again: true, ..samples::live() }.render().unwrap();
    assert!(again.contains("<span id=\"state\" hx-swap-oob=\"true\">"));
    assert!(!page("endpoint-empty").contains("popovertarget=\"roll-back\""), "nothing to return to");
}

#[test]
fn a_prediction_tells_what_it_can_not_tell() {
    let html = page("prediction");
    assert!(html.contains("0.8123456239700317") && html.contains("bea: looked at the segments"));
    assert!(page("prediction-gaps").contains("is not known any more"));
    assert!(page("prediction-gaps").contains("not told yet"));
}

#[test]
fn a_page_that_was_logged_is_framed_without_the_origin_of_ours() {
    let html =
        samples::run_with_open(Preview::Page("/p/x/runs/r/preview/report.html".into())).render().unwrap();
    assert!(html.contains(r#"src="/p/x/runs/r/preview/report.html" sandbox="allow-scripts""#));
    assert!(!html.contains("allow-same-origin"));
}
