// How long ago something was, by the hub's clock.
import { duration, hubNow, instant, onTick } from "covey";

export default {
  props: { at: Number, never: String, after: String },
  data: () => ({ now: hubNow() }),
  mounted() {
    this.stop = onTick(() => (this.now = hubNow()));
  },
  unmounted() {
    this.stop();
  },
  computed: {
    isKnown() {
      return typeof this.at === "number";
    },
    text() {
      return duration(this.now - this.at) + this.after;
    },
    title() {
      return instant(this.at);
    },
    iso() {
      return new Date(this.at).toISOString();
    },
  },
  template: `<time v-if="isKnown" :datetime="iso" :title="title">{{ text }}</time><span v-else class="quiet">{{ never }}</span>`,
};
