//! A learner's first change to the room doesn't break the page, or needs one changed line in it.

use super::browser::*;
use super::room::*;
use serde_json::json;

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn with_names_before_the_texts_the_page_works_as_it_is() {
    in_chromium(async |tab| {
        let room = Room::start(PAGE, |text, _| Some(format!("7: {text}"))).await;
        tab.open(&room.address).await;
        tab.send("hello").await;
        room.send("not mine");
        tab.until_lines(&["own: 7: hello", "other: 7: not mine"])
            .await;
        waits_for_nothing(tab).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn if_the_room_changes_the_text_the_sender_sees_it_as_sent() {
    in_chromium(async |tab| {
        let room = Room::start(PAGE, |text, _| Some(text.to_uppercase())).await;
        tab.open(&room.address).await;
        tab.send("hello").await;
        tab.until_lines(&["other: HELLO"]).await;
        tab.until_lines(&["other: HELLO", "own: hello"]).await; // after ten seconds
        waits_for_nothing(tab).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn if_the_room_trims_the_texts_the_page_works_as_it_is() {
    in_chromium(async |tab| {
        let room = Room::start(PAGE, |text, _| Some(text.trim().to_owned())).await;
        tab.open(&room.address).await;
        tab.send("  hello ").await;
        tab.until_lines(&["own: hello"]).await;
        waits_for_nothing(tab).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn json_needs_one_changed_line() {
    in_chromium(async |tab| {
        let page = page_with(
            "const text = event.data;",
            "const { text } = JSON.parse(event.data);",
        );
        let change = |text: &str, _: bool| Some(json!({ "id": 7, "text": text }).to_string());
        let room = Room::start(page, change).await;
        tab.open(&room.address).await;
        tab.send("hello").await;
        room.send("not mine");
        tab.until_lines(&["own: hello", "other: not mine"]).await;
        waits_for_nothing(tab).await;
    });
}

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn a_room_without_echo_needs_one_changed_line() {
    in_chromium(async |tab| {
        let page = page_with(
            "awaitEcho(text, showLine(text, \"own\", waiting));",
            "showLine(text, \"own\", arrived);",
        );
        let change = |text: &str, own: bool| (!own).then(|| text.to_owned());
        let room = Room::start(page, change).await;
        tab.open(&room.address).await;
        tab.send("hello").await;
        tab.until_lines(&["own: hello"]).await;
        waits_for_nothing(tab).await;
        room.send("not mine");
        tab.until_lines(&["own: hello", "other: not mine"]).await;
    });
}

/// The page gives up on a connection only while a text waits for its echo.
async fn waits_for_nothing(tab: &Tab) {
    tab.expect("waiting.childElementCount", json!(0)).await;
    tab.expect("state.textContent", json!("Connected")).await;
}
