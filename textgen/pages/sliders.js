// The sliders of pages that write text: each says in a sentence what its value does.
//
// A page has `settings`: values, by the name of each slider; model, whose `tokenizer` is the kind of its tokens; and
// onChange, called when a slider moves.

const TOKEN_KINDS = { char: "a character", byte: "a byte", bpe: "a piece of a word", word: "a word" };
const OFF = "off";

/** The values of a slider, its name in a request, how a value is shown, and its sentence. OFF is not sent. */
const SLIDERS = [
  {
    name: "temperature", label: "Temperature", values: steps(0, 2, 0.05),
    say(value) {
      if (value === 0)
        return "Always the most likely token: the same text every time, which soon goes round in circles.";
      const mood = value < 0.5 ? "Cautious" : value < 0.95 ? "Steady, with some surprises"
        : value <= 1.05 ? "As the model learned it" : value <= 1.4 ? "Bold, with more mistakes" : "Wild, soon nonsense";
      return `${mood}. A token twice as likely as another is drawn ${times(2 ** (1 / value))} as often.`;
    },
  },
  {
    name: "top_p", label: "Top-p", values: [...steps(0.05, 0.95, 0.05), 0.98, 0.99, OFF],
    say: (value) => (value === OFF ? "Off: even the most unlikely token may be drawn."
      : `Draws only from the favourites that together have ${percent(value)} of the probability.`),
  },
  {
    name: "top_k", label: "Top-k", values: [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 100, 200, OFF],
    say: (value) => (value === OFF ? "Off: any number of tokens may be drawn from."
      : value === 1 ? "Draws only the most likely token, whatever the temperature."
        : `Draws only from the ${value} most likely tokens.`),
  },
  {
    name: "min_p", label: "Min-p", values: [OFF, 0.01, 0.02, ...steps(0.05, 0.95, 0.05)],
    say: (value) => (value === OFF ? "Off: a token may be much less likely than the favourite."
      : `Draws no token that is less than ${percent(value)} as likely as the favourite.`),
  },
  {
    name: "max_tokens", label: "Length", values: [1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10000, 20000],
    show: number,
    say: (value) => `Writes at most ${number(value)} ${value === 1 ? "token" : "tokens"} at a time; `
      + `here a token is ${TOKEN_KINDS[settings.model?.tokenizer] ?? "a piece of text"}.`,
  },
];

function steps(from, to, step) {
  return Array.from({ length: Math.round((to - from) / step) + 1 }, (_, index) => Number((from + index * step).toFixed(2)));
}

function times(factor) {
  return factor > 1000 ? "over 1,000 times" : `${factor < 10 ? factor.toFixed(1) : number(Math.round(factor))} times`;
}

function buildSliders(defaults) {
  for (const slider of SLIDERS) byId("sliders").append(buildSlider(slider, defaults[slider.name] ?? slider.values[0]));
}

function buildSlider(slider, initial) {
  const { name, label, values } = slider;
  const id = `slider-${name}`;
  const input = make("input", { type: "range", id, min: 0, max: values.length - 1, step: 1 });
  // An initial value that is between two steps takes the nearest.
  input.value = initial === OFF ? values.indexOf(OFF)
    : nearest(values, initial);
  const output = make("span", { className: "value" });
  output.setAttribute("aria-hidden", "true"); // the slider itself says it
  const sentence = make("p", { className: "note", id: `${id}-meaning` });
  input.setAttribute("aria-describedby", sentence.id);
  slider.update = () => {
    const value = values[input.value];
    const shown = slider.show && value !== OFF ? slider.show(value) : String(value);
    settings.values[name] = value;
    output.textContent = shown;
    sentence.textContent = slider.say(value);
    input.setAttribute("aria-valuetext", shown);
  };
  input.addEventListener("input", () => {
    slider.update();
    settings.onChange();
  });
  slider.update();
  return make("div", { className: "slider" }, make("label", { htmlFor: id, textContent: label }), output, input, sentence);
}

function nearest(values, wanted) {
  const distance = (value) => (value === OFF ? Infinity : Math.abs(value - wanted));
  return values.reduce((best, value, index) => (distance(value) < distance(values[best]) ? index : best), 0);
}

