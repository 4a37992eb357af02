// Whether what is shown is of now: fed by each answer of the hub's poller, and sets the clock by which ages tick.
import { duration, hubNow, instant, onTick, setHubTime } from "covey";

const LATE_MS = 6000;

/** A connection that is refused may mean that the session has ended: the page, loaded anew, then leads to the sign-in. */
function leaveWhenSignedOut() {
  if (!window.socket) {
    setTimeout(leaveWhenSignedOut, 100); // NiceGUI makes it when everything is mounted
    return;
  }
  window.socket.on("connect_error", async () => {
    const answer = await fetch(window.path_prefix + "/", { method: "HEAD" }).catch(() => null);
    if (answer?.status === 401) window.location.reload();
  });
}

export default {
  props: { at: Number, problem: String, paused: Boolean },
  data: () => ({ now: 0 }),
  created() {
    this.beat();
  },
  mounted() {
    this.stop = onTick(() => (this.now = hubNow()));
    leaveWhenSignedOut();
  },
  unmounted() {
    this.stop();
  },
  watch: {
    at() {
      this.beat();
    },
  },
  methods: {
    beat() {
      setHubTime(this.at);
      this.now = hubNow();
    },
  },
  computed: {
    state() {
      if (this.paused) return "paused";
      return this.problem || this.now - this.at > LATE_MS ? "late" : "live";
    },
    text() {
      const age = duration(this.now - this.at);
      if (this.paused) return `Paused · as of ${age} ago`;
      if (this.problem) return `${this.problem} Shown is what was ${age} ago.`;
      return this.state === "live" ? "Live" : `No news for ${age}`;
    },
    title() {
      return `As of ${instant(this.at)}`;
    },
  },
  template: `<span :class="['live', 'live-' + state]" :title="title"><i aria-hidden="true"></i>{{ text }}</span>`,
};
