/** What the reader has answered, kept in this browser alone. */
import type { Course } from "../../api";
import { keep, kept } from "../../state/kept";
import { route } from "../../state/route.svelte";

/** An answer to a question: what was chosen or typed, and whether it was right at once. */
export interface Answer {
  given: string;
  right: boolean;
  /** The question is closed: its answer is shown. */
  done: boolean;
}

const KEY = "glassformer-course";
const TEACHER = "glassformer-teacher";

class Progress {
  private answers = $state<Record<string, Answer>>({});
  private key = "";
  private teacher = $state(kept(TEACHER) === "1");

  /** Take up what was kept for a text. */
  open(course: Course): void {
    const key = `${KEY} ${course.text.slice(0, 80)}`;
    if (key === this.key) return;
    this.key = key;
    try {
      this.answers = JSON.parse(kept(key) ?? "{}");
    } catch {
      this.answers = {}; // not ours
    }
  }

  /** Whether answers are hidden: by the switch for teachers, or by the address that was opened. */
  get hidden(): boolean {
    return this.teacher || route.get("teacher") === "1";
  }

  set hidden(hidden: boolean) {
    this.teacher = hidden;
    keep(TEACHER, hidden ? "1" : "");
    route.adjust({ teacher: null });
  }

  /** The answer to a question; its key is the lesson, the stage and the part. */
  at = (key: string): Answer | undefined => this.answers[key];

  set(key: string, answer: Answer): void {
    this.answers[key] = answer;
    this.save();
  }

  /** Forget the answers of a lesson. */
  clear(lesson: string): void {
    for (const key of Object.keys(this.answers))
      if (key.startsWith(`${lesson}/`)) delete this.answers[key];
    this.save();
  }

  /** How many questions of a lesson are done, and how many were right at once. */
  of(lesson: string): { done: number; right: number } {
    const answers = Object.entries(this.answers).filter(([key]) => key.startsWith(`${lesson}/`));
    return {
      done: answers.filter(([, answer]) => answer.done).length,
      right: answers.filter(([, answer]) => answer.right).length,
    };
  }

  private save(): void {
    keep(this.key, JSON.stringify(this.answers));
  }
}

export const progress = new Progress();
