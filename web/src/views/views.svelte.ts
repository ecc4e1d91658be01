/** The views: Start and Story are there at once, a script of several others is loaded when it is first needed. */
import type { Component } from "svelte";
import type { View } from "../state/route.svelte";
import { session } from "../state/session.svelte";
import Start from "./Start.svelte";
import Story from "./Story.svelte";

type Name = View | "bridge";
type Loaded = Partial<Record<Name, Component>>;

const SCRIPTS = {
  look: (): Promise<Loaded> => import("./look"),
  run: (): Promise<Loaded> => import("./run"),
  teach: (): Promise<Loaded> => import("./teach"),
};
type Script = keyof typeof SCRIPTS;

/** Which script a view is in. */
const SCRIPT_OF: Record<Exclude<Name, "start" | "story">, Script> = {
  map: "look",
  attention: "look",
  bridge: "look",
  tokens: "look",
  weights: "look",
  playground: "run",
  lab: "run",
  training: "run",
  learn: "teach",
  requests: "teach",
};

/** A file leaves out scripts whose views would have nothing to show in it. */
const isHere = (script: Script): boolean =>
  session.source.served || document.getElementById(`./${script}.js`) !== null;

class Views {
  private loaded = $state.raw<Loaded>({ start: Start, story: Story });

  /** Whether the page has a view, loaded or not. */
  has = (name: Name): boolean => name === "start" || name === "story" || isHere(SCRIPT_OF[name]);

  /** A view that is loaded. */
  get = (name: Name): Component | undefined => this.loaded[name];

  async load(name: Name): Promise<void> {
    if (name === "start" || name === "story") return;
    const more = await SCRIPTS[SCRIPT_OF[name]]();
    this.loaded = { ...this.loaded, ...more }; // another script may have come meanwhile
  }

  /** Load all that is still missing, so that it is there when it is opened. */
  loadAhead(): void {
    // whatever fails here is tried again, and said, where it is opened
    for (const name of ["map", "playground", "learn"] as const)
      if (this.has(name)) this.load(name).catch(() => {});
  }
}

export const views = new Views();
