"use strict";
// What the scripts of all pages share: elements, numbers and tokens as text, and the place of a box beside a token.

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
const number = (count) => count.toLocaleString("en");

/** A probability as a percentage, or as "1 in 5,000" where that would be 0.1% at most. */
function likelihood(probability) {
  return probability >= 0.001 ? percent(probability) : `1 in ${number(Math.round(1 / probability))}`;
}

/** Create an element. Strings become text nodes, so that text of the corpus is never parsed as markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** The text of a token with white space and control characters made visible. */
function visible(text) {
  const symbols = { "\n": "↵", "\t": "⇥", " ": "␣", "\u00a0": "⍽" };
  const shown = text.replace(/[\n\t \u00a0]/g, (character) => symbols[character]);
  return controlPictures(shown) || "·";
}

/** Replace control characters by their Unicode symbols (control pictures). */
function controlPictures(text) {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (character) =>
    String.fromCharCode(character === "\x7f" ? 0x2421 : 0x2400 + character.charCodeAt(0)));
}

/** Show a box below an element, or above it where there is no space below, within the width of the page. */
function placeNear(box, anchor) {
  box.hidden = false;
  const place = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = box;
  const left = clamp(place.left + (place.width - width) / 2, 8, document.documentElement.clientWidth - width - 8);
  const above = place.bottom + 10 + height > window.innerHeight && place.top > height + 10;
  box.style.left = `${window.scrollX + left}px`;
  box.style.top = `${window.scrollY + (above ? place.top - height - 10 : place.bottom + 10)}px`;
}

