// Native bench around the Verilated machine: clock, the memory port of docs/timing.md (section 3), a passive AXI
// checker and the recorder of the trace port. Python (sim/rtl/bench.py) steps it in bulk through the C functions at
// the end.
//
// A cycle is: drive the inputs, which are functions of what earlier cycles left only; settle the logic with the clock
// low; sample every handshake; raise the clock. So no output of the machine reaches one of its inputs in the same cycle.

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>

#include "bench_config.h"
#include "Vdut.h"
#include "verilated.h"
#if BENCH_WAVE
#include "verilated_vcd_c.h"
#endif

// Verilator's own runtime asks for it.
double sc_time_stamp() { return 0; }

namespace {

constexpr int PAGE = 4096;
enum Channel { READ = 0, WRITE = 1, RESPONSE = 2 };
enum Response { OKAY = 0, SLVERR = 2, DECERR = 3 };

// Mirrored in bench.py, in this order.
struct Parameters {
    int64_t read_latency, write_latency, read_outstanding, write_outstanding;
    int64_t stalls, stall_seed, stall_rate;
    int64_t error_read_beat, error_write_burst, error_response;
};

// What is recorded, with one array of cycles each; mirrored in bench.py.
enum Event { LOAD_RETIRE, COMPUTE_RETIRE, STORE_RETIRE, COMPUTE_LAST, LOAD_START, COMPUTE_START, STORE_START, DISPATCH, EVENTS };
constexpr int CAUSES = 16;

struct Address {
    uint64_t address = 0, length = 0, size = 0, burst = 0, id = 0;
    bool operator==(const Address& o) const {
        return address == o.address && length == o.length && size == o.size && burst == o.burst && id == o.id;
    }
};

struct Data {
    uint8_t bytes[BENCH_BUS_BYTES];
    uint64_t strobes = 0, last = 0, id = 0;
    bool operator==(const Data& o) const {
        return !memcmp(bytes, o.bytes, sizeof bytes) && strobes == o.strobes && last == o.last && id == o.id;
    }
};

struct Burst {
    Address a;
    int64_t accepted = 0;
    int64_t done = 0;
    int64_t data_taken = 0;  // write: the cycle of its last beat
    bool error = false;
};

class Bench {
  public:
    Bench(uint8_t* memory, uint64_t size, const Parameters& p) : memory_(memory), size_(size), p_(p) {
        context_ = std::make_unique<VerilatedContext>();
#if BENCH_WAVE
        context_->traceEverOn(true);
#endif
        dut_ = std::make_unique<Vdut>(context_.get());
        dut_->rst = 1;
        dut_->clk = 0;
        dut_->eval();
    }

    ~Bench() {
        wave_close();
        dut_->final();
    }

    // Another memory, or another behaviour of it; only while nothing is in flight.
    void environment(uint8_t* memory, uint64_t size, const Parameters& p) {
        memory_ = memory;
        size_ = size;
        p_ = p;
    }

    void reset(int64_t cycles) {
        dut_->rst = 1;
        forget();
        for (int64_t c = 0; c < cycles; ++c) cycle();
        dut_->rst = 0;
    }

    // A new program: beats and cycles are counted from 0 again.
    void begin(int64_t* const* events, const int64_t* capacity, int64_t* causes, int64_t cause_rows) {
        for (int e = 0; e < EVENTS; ++e) {
            events_[e] = events[e];
            capacity_[e] = capacity[e];
            count_[e] = 0;
        }
        causes_ = causes;
        cause_rows_ = cause_rows;
        cause_row_ = 0;
        read_beats_ = write_beats_ = responses_ = 0;
        running_cycles_ = 0;
        was_running_ = false;
        ended_ = false;
    }

    // At most `cycles` cycles; stops when the checker finds something and, unless `beyond`, when the program ends.
    int64_t step(int64_t cycles, bool beyond) {
        int64_t done = 0;
        while (done < cycles && (beyond || !ended_) && !problem_[0]) {
            cycle();
            ++done;
        }
        return done;
    }

    // One AXI-Lite transfer; the response, or -1 if it does not end.
    int register_write(uint32_t address, uint32_t value) {
        dut_->s_axil_awaddr = address;
        dut_->s_axil_wdata = value;
        dut_->s_axil_wstrb = 15;
        bool aw = true, w = true;
        for (int limit = 0; limit < 1000 && !problem_[0]; ++limit) {
            dut_->s_axil_awvalid = aw;
            dut_->s_axil_wvalid = w;
            dut_->s_axil_bready = 1;
            settle();
            const bool aw_taken = aw && dut_->s_axil_awready, w_taken = w && dut_->s_axil_wready;
            const bool answered = dut_->s_axil_bvalid;
            const int response = dut_->s_axil_bresp;
            if (answered && (aw || w)) fail("a register write is answered before its address and data are taken");
            finish();
            aw = aw && !aw_taken;
            w = w && !w_taken;
            if (answered) {
                dut_->s_axil_bready = dut_->s_axil_awvalid = dut_->s_axil_wvalid = 0;
                return response;
            }
        }
        return -1;
    }

    int register_read(uint32_t address, uint32_t* value) {
        dut_->s_axil_araddr = address;
        bool ar = true;
        for (int limit = 0; limit < 1000 && !problem_[0]; ++limit) {
            dut_->s_axil_arvalid = ar;
            dut_->s_axil_rready = 1;
            settle();
            const bool taken = ar && dut_->s_axil_arready, answered = dut_->s_axil_rvalid;
            const int response = dut_->s_axil_rresp;
            const uint32_t data = dut_->s_axil_rdata;
            finish();
            ar = ar && !taken;
            if (answered) {
                dut_->s_axil_rready = dut_->s_axil_arvalid = 0;
                *value = data;
                return response;
            }
        }
        return -1;
    }

    void wave(const char* path, int64_t first, int64_t last) {
        wave_close();
        wave_first_ = first;
        wave_last_ = last;
#if BENCH_WAVE
        vcd_ = std::make_unique<VerilatedVcdC>();
        dut_->trace(vcd_.get(), 99);
        vcd_->open(path);
#else
        (void)path;
#endif
    }

    void wave_close() {
#if BENCH_WAVE
        if (vcd_) vcd_->close();
        vcd_.reset();
#endif
    }

    const char* problem() const { return problem_; }
    bool ended() const { return ended_; }
    int64_t cycles() const { return running_cycles_; }
    int64_t count(int event) const { return count_[event]; }
    // Verilator holds `interrupt` for a reserved word.
    bool interrupt() const { return dut_->__SYM__interrupt; }
    bool idle() const { return reads_.empty() && writes_.empty(); }

  private:
    // ---- one cycle ------------------------------------------------------------------------------------------

    void cycle() {
        settle();
        finish();
    }

    void settle() {
        drive();
        dut_->clk = 0;
        dut_->eval();
    }

    void finish() {
#if BENCH_WAVE
        const bool dump =
            vcd_ && dut_->trace_running && running_cycles_ >= wave_first_ && running_cycles_ <= wave_last_;
#endif
        if (dut_->rst) {
            if (reset_cycles_++ > 0 && (dut_->axi_arvalid || dut_->axi_awvalid || dut_->axi_wvalid))
                fail("a valid signal is high during reset");
        } else {
            reset_cycles_ = 0;
            sample_read();
            sample_write();
            record();
        }
#if BENCH_WAVE
        if (dump) vcd_->dump(uint64_t(2 * now_));
#endif
        dut_->clk = 1;
        dut_->eval();
#if BENCH_WAVE
        if (dump) vcd_->dump(uint64_t(2 * now_ + 1));
#endif
        ++now_;
    }

    void forget() {
        reads_.clear();
        writes_.clear();
        ar_waiting_ = aw_waiting_ = w_waiting_ = false;
        read_offered_ = -1;
        w_presented_ = -1;
        response_due_ = -1;
        last_taken_ = last_response_ = INT64_MIN / 2;
    }

    // The stall profile: hw.timing.stall_gap.
    int64_t gap(Channel channel, int64_t index) const {
        if (!p_.stalls) return 0;
        uint32_t x = uint32_t(index) * 0x9E3779B1u + uint32_t(p_.stall_seed) * 0x85EBCA77u + channel * 0xC2B2AE3Du;
        x = (x ^ (x >> 16)) * 0x7FEB352Du;
        x = (x ^ (x >> 15)) * 0x846CA68Bu;
        x ^= x >> 16;
        return int64_t(x >> 8) < p_.stall_rate ? 1 + (x & 7) : 0;
    }

    // ---- the memory: what it drives in this cycle -----------------------------------------------------------

    void drive() {
        dut_->axi_arready = int64_t(reads_.size()) < p_.read_outstanding;
        bool valid = false;
        if (!reads_.empty()) {
            Burst& b = reads_.front();
            if (read_offered_ < 0) {
                const int64_t first = b.done == 0 ? b.accepted + p_.read_latency : 0;
                read_offered_ = std::max(last_taken_ + 1, first) + gap(READ, read_beats_);
            }
            valid = now_ >= read_offered_;
            if (valid) drive_beat(b);
        }
        dut_->axi_rvalid = valid;

        dut_->axi_awready = int64_t(writes_.size()) < p_.write_outstanding;
        // Ready once the beat has been presented for as many cycles as its gap says; at once without one.
        const int64_t w_gap = gap(WRITE, write_beats_);
        dut_->axi_wready = w_gap == 0 || (w_presented_ >= 0 && now_ - w_presented_ >= w_gap);

        if (response_due_ < 0 && !writes_.empty() && writes_.front().done > int64_t(writes_.front().a.length)) {
            const int64_t earliest = writes_.front().data_taken + p_.write_latency;
            response_due_ = std::max(earliest, last_response_ + 1) + gap(RESPONSE, responses_);
        }
        const bool answer = response_due_ >= 0 && now_ >= response_due_;
        dut_->axi_bvalid = answer;
        if (answer) {
            const Burst& b = writes_.front();
            dut_->axi_bid = b.a.id;
            dut_->axi_bresp = responses_ == p_.error_write_burst ? p_.error_response : b.error ? DECERR : OKAY;
        }
    }

    void drive_beat(const Burst& b) {
        const uint64_t at = (b.a.address & ~uint64_t(BENCH_BUS_BYTES - 1)) + b.done * BENCH_BUS_BYTES;
        uint8_t data[sizeof dut_->axi_rdata] = {};
        const bool inside = at < size_;
        if (inside) memcpy(data, memory_ + at, std::min<uint64_t>(BENCH_BUS_BYTES, size_ - at));
        memcpy(&dut_->axi_rdata, data, sizeof data);
        dut_->axi_rid = b.a.id;
        dut_->axi_rlast = b.done == int64_t(b.a.length);
        dut_->axi_rresp = read_beats_ == p_.error_read_beat ? p_.error_response : inside ? OKAY : DECERR;
    }

    // ---- the handshakes of this cycle -----------------------------------------------------------------------

    void sample_read() {
        Address a;
        const bool valid = dut_->axi_arvalid;
        if (valid) a = {dut_->axi_araddr, dut_->axi_arlen, dut_->axi_arsize, dut_->axi_arburst, dut_->axi_arid};
        check_address("AR", valid, a, ar_waiting_, ar_);
        ar_waiting_ = valid && !dut_->axi_arready;
        ar_ = a;
        // Before the address: a burst accepted in this cycle has no beat in it.
        if (dut_->axi_rvalid && dut_->axi_rready) {
            Burst& b = reads_.front();
            last_taken_ = now_;
            ++read_beats_;
            read_offered_ = -1;
            if (b.done++ == int64_t(b.a.length)) reads_.pop_front();
        }
        if (valid && dut_->axi_arready) reads_.push_back({a, now_});
    }

    void sample_write() {
        const bool w_valid = dut_->axi_wvalid, w_taken = w_valid && dut_->axi_wready;
        Data d;
        if (w_valid) {
            memcpy(d.bytes, &dut_->axi_wdata, BENCH_BUS_BYTES);
            d.strobes = dut_->axi_wstrb;
            d.last = dut_->axi_wlast;
#if BENCH_AXI3
            d.id = dut_->axi_wid;
#endif
            check_data(d);
        }
        if (w_waiting_ && !w_valid) fail("WVALID was withdrawn before WREADY");
        if (w_waiting_ && w_valid && !(d == w_)) fail("the W payload changed while it waited for WREADY");
        w_waiting_ = w_valid && !w_taken;
        w_ = d;
        if (w_valid && w_presented_ < 0) w_presented_ = now_;
        if (w_taken && !problem_[0]) take_data(d);

        if (dut_->axi_bvalid && dut_->axi_bready) {
            last_response_ = now_;
            ++responses_;
            response_due_ = -1;
            writes_.pop_front();
        }

        Address a;
        const bool valid = dut_->axi_awvalid;
        if (valid) a = {dut_->axi_awaddr, dut_->axi_awlen, dut_->axi_awsize, dut_->axi_awburst, dut_->axi_awid};
        check_address("AW", valid, a, aw_waiting_, aw_);
        aw_waiting_ = valid && !dut_->axi_awready;
        aw_ = a;
        if (valid && dut_->axi_awready) writes_.push_back({a, now_});
    }

    Burst* open_write() {
        for (Burst& b : writes_)
            if (b.done <= int64_t(b.a.length)) return &b;
        return nullptr;
    }

    void check_data(const Data& d) {
        const Burst* b = open_write();
        if (!b) return fail("write data without an accepted address");
        if (d.last != (b->done == int64_t(b->a.length)))
            fail("WLAST is %d in beat %d of a burst of %d", int(d.last), int(b->done), int(b->a.length) + 1);
#if BENCH_AXI3
        if (d.id != b->a.id) fail("WID %d in a burst with AWID %d", int(d.id), int(b->a.id));
#endif
    }

    void take_data(const Data& d) {
        Burst& b = *open_write();
        const uint64_t at = (b.a.address & ~uint64_t(BENCH_BUS_BYTES - 1)) + b.done * BENCH_BUS_BYTES;
        for (int i = 0; i < BENCH_BUS_BYTES; ++i) {
            if (!(d.strobes >> i & 1)) continue;
            if (at + i < size_)
                memory_[at + i] = d.bytes[i];
            else
                b.error = true;
        }
        ++write_beats_;
        w_presented_ = -1;
        if (b.done++ == int64_t(b.a.length)) b.data_taken = now_;
    }

    void check_address(const char* channel, bool valid, const Address& a, bool waiting, const Address& before) {
        if (waiting && !valid) fail("%sVALID was withdrawn before %sREADY", channel, channel);
        if (waiting && valid && !(a == before)) fail("the %s payload changed while it waited for %sREADY", channel, channel);
        if (!valid || waiting) return;
        if (int64_t(a.length) + 1 > BENCH_BURST_BEATS)
            fail("%s burst of %d beats; at most %d", channel, int(a.length) + 1, BENCH_BURST_BEATS);
        if ((1 << a.size) != BENCH_BUS_BYTES) fail("%sSIZE is %d, the bus has %d bytes", channel, int(a.size), BENCH_BUS_BYTES);
        if (a.burst != 1) fail("%sBURST is %d, not INCR", channel, int(a.burst));
        if (a.address % PAGE / BENCH_BUS_BYTES + a.length + 1 > PAGE / BENCH_BUS_BYTES)
            fail("%s burst of %d beats at 0x%llx crosses 4 KB", channel, int(a.length) + 1, (unsigned long long)a.address);
    }

    void fail(const char* format, ...) __attribute__((format(printf, 2, 3))) {
        if (problem_[0]) return;
        const int n = snprintf(problem_, sizeof problem_, "cycle %lld: ", (long long)running_cycles_);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(problem_ + n, sizeof problem_ - n, format, arguments);
        va_end(arguments);
    }

    // ---- the trace port -------------------------------------------------------------------------------------

    void note(int event, bool happens) {
        if (!happens) return;
        if (count_[event] < capacity_[event]) events_[event][count_[event]] = running_cycles_;
        ++count_[event];
    }

    void record() {
        const bool running = dut_->trace_running;
        if (was_running_ && !running) ended_ = true;
        was_running_ = running;
        if (!running) return;
        note(LOAD_RETIRE, dut_->trace_load_retire);
        note(COMPUTE_RETIRE, dut_->trace_compute_retire);
        note(STORE_RETIRE, dut_->trace_store_retire);
        note(LOAD_START, dut_->trace_load_start);
        note(COMPUTE_START, dut_->trace_compute_start);
        note(STORE_START, dut_->trace_store_start);
        note(DISPATCH, dut_->trace_dispatch);
        if (cause_row_ < cause_rows_) ++causes_[cause_row_ * CAUSES + dut_->trace_cause];
        if (dut_->trace_compute_last) ++cause_row_;
        note(COMPUTE_LAST, dut_->trace_compute_last);
        ++running_cycles_;
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vdut> dut_;
    uint8_t* memory_;
    uint64_t size_;
    Parameters p_;
    char problem_[256] = "";

    int64_t now_ = 0, reset_cycles_ = 0;
    // Accepted read bursts; accepted write bursts until their response.
    std::deque<Burst> reads_, writes_;
    int64_t read_beats_ = 0, write_beats_ = 0, responses_ = 0;
    int64_t read_offered_ = -1, response_due_ = -1, w_presented_ = -1;
    int64_t last_taken_ = INT64_MIN / 2, last_response_ = INT64_MIN / 2;
    bool ar_waiting_ = false, aw_waiting_ = false, w_waiting_ = false;
    Address ar_, aw_;
    Data w_;

    int64_t* events_[EVENTS] = {};
    int64_t capacity_[EVENTS] = {}, count_[EVENTS] = {};
    int64_t* causes_ = nullptr;
    int64_t cause_rows_ = 0, cause_row_ = 0, running_cycles_ = 0;
    bool was_running_ = false, ended_ = false;
    int64_t wave_first_ = 0, wave_last_ = -1;
#if BENCH_WAVE
    std::unique_ptr<VerilatedVcdC> vcd_;
#endif
};

}  // namespace

extern "C" {
Bench* bench_new(uint8_t* memory, uint64_t size, const Parameters* p) { return new Bench(memory, size, *p); }
void bench_delete(Bench* b) { delete b; }
void bench_environment(Bench* b, uint8_t* memory, uint64_t size, const Parameters* p) { b->environment(memory, size, *p); }
void bench_reset(Bench* b, int64_t cycles) { b->reset(cycles); }
void bench_begin(Bench* b, int64_t* const* events, const int64_t* capacity, int64_t* causes, int64_t rows) {
    b->begin(events, capacity, causes, rows);
}
int64_t bench_step(Bench* b, int64_t cycles, int beyond) { return b->step(cycles, beyond); }
int bench_ended(Bench* b) { return b->ended(); }
int bench_interrupt(Bench* b) { return b->interrupt(); }
int bench_idle(Bench* b) { return b->idle(); }
int64_t bench_cycles(Bench* b) { return b->cycles(); }
int64_t bench_count(Bench* b, int event) { return b->count(event); }
const char* bench_problem(Bench* b) { return b->problem(); }
int bench_write(Bench* b, uint32_t address, uint32_t value) { return b->register_write(address, value); }
int bench_read(Bench* b, uint32_t address, uint32_t* value) { return b->register_read(address, value); }
void bench_wave(Bench* b, const char* path, int64_t first, int64_t last) { b->wave(path, first, last); }
void bench_wave_close(Bench* b) { b->wave_close(); }
}
