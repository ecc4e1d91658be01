/** Light or dark, and the colors that canvases paint with. */

import { keep, kept } from "./kept";

const KEY = "glassformer-theme";
const SHADES = 256;

const GAMMA = 1.4; // mixing at this power keeps the middle of a ramp from looking too dark

/** The channels of a color written rgb(r, g, b), #rrggbb, or #rgb as the build shortens it. */
export function channels(hex: string): number[] {
  if (hex.startsWith("rgb")) return hex.match(/\d+/g)!.slice(0, 3).map(Number);
  const digits = hex.length === 4 ? hex.replace(/[^#]/g, "$&$&") : hex;
  return [1, 3, 5].map((at) => parseInt(digits.slice(at, at + 2), 16));
}

/** The color a share of the way from one to the other. */
const mixed = (from: number[], to: number[], share: number): string =>
  `rgb(${from.map((a, i) => Math.round((a ** GAMMA + (to[i] ** GAMMA - a ** GAMMA) * share) ** (1 / GAMMA))).join(", ")})`;

class Theme {
  dark = $state(false);
  private styles = getComputedStyle(document.documentElement);
  private colors = $derived.by(() => (this.dark, new Map<string, string>()));
  private ramps = $derived.by(() => (this.dark, this.build()));

  constructor() {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const asWanted = () => this.apply(kept(KEY) ? kept(KEY) === "dark" : system.matches);
    asWanted();
    system.addEventListener("change", asWanted);
    addEventListener("beforeprint", () => this.apply(false)); // paper is light
    addEventListener("afterprint", asWanted);
  }

  flip(): void {
    this.apply(!this.dark);
    keep(KEY, this.dark ? "dark" : "light");
  }

  color(name: string): string {
    const { colors } = this; // asked for each dot of a picture, and asking the styles is slow
    return (
      colors.get(name) ??
      colors.set(name, this.styles.getPropertyValue(`--${name}`).trim()).get(name)!
    );
  }

  /** Blue for a positive share of the scale, orange for a negative one; `share` is from -1 to 1. */
  signed(share: number): string {
    const ramp = share < 0 ? this.ramps.negative : this.ramps.positive;
    return ramp[Math.min(Math.round(Math.abs(share) * (SHADES - 1)), SHADES - 1)];
  }

  /** One hue, for a share from 0 to 1. */
  probability(share: number): string {
    return this.ramps.probability[Math.min(Math.round(share * (SHADES - 1)), SHADES - 1)];
  }

  private apply(dark: boolean): void {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.dark = dark;
  }

  private build() {
    const ramp = (name: string) => {
      const [zero, end] = [channels(this.color("zero")), channels(this.color(name))];
      // small numbers stay visible: the ramp rises quickly at first
      return Array.from({ length: SHADES }, (_, i) => mixed(zero, end, (i / (SHADES - 1)) ** 0.7));
    };
    return {
      positive: ramp("positive"),
      negative: ramp("negative"),
      probability: ramp("probability"),
    };
  }
}

export const theme = new Theme();
