// Native bench around the Verilated machine: clock, memory port (harness_memory.h), a passive AXI checker
// (harness_checker.h), the control bus and the recorder of the trace port. Python (sim/rtl/bench.py) steps it in bulk
// through the C functions at the end.
//
// A cycle is: drive the inputs, which are functions of what earlier cycles left only; settle the logic with the clock
// low; sample every handshake; raise the clock. So no output of the machine reaches one of its inputs in the same cycle.

#include <cstdint>
#include <memory>

#include "bench_config.h"
#include "Vdut.h"
#include "harness_checker.h"
#include "harness_memory.h"
#include "verilated.h"
#if BENCH_WAVE == BENCH_VCD
#include "verilated_vcd_c.h"
using Wave = VerilatedVcdC;
#elif BENCH_WAVE == BENCH_FST
#include "verilated_fst_c.h"
using Wave = VerilatedFstC;
#endif

// Verilator's own runtime asks for it.
double sc_time_stamp() { return 0; }

namespace {

// What is recorded, with one array of cycles each; mirrored in bench.py.
enum Event { LOAD_RETIRE, COMPUTE_RETIRE, STORE_RETIRE, COMPUTE_LAST, LOAD_START, COMPUTE_START, STORE_START, DISPATCH, EVENTS };
constexpr int CAUSES = 16;

class Bench {
  public:
    Bench(uint8_t* memory, uint64_t size, const Parameters& p) : memory_(memory, size, p) {
        context_ = std::make_unique<VerilatedContext>();
#if BENCH_WAVE != BENCH_NO_WAVE
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
        memory_.become(memory, size, p);
    }

    void reset(int64_t cycles) {
        dut_->rst = 1;
        memory_.forget();
        checker_.forget();
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
        memory_.begin();
        running_cycles_ = 0;
        was_running_ = false;
        ended_ = false;
    }

    // At most `cycles` cycles; stops when the checker finds something and, unless `beyond`, when the program ends.
    int64_t step(int64_t cycles, bool beyond) {
        int64_t done = 0;
        while (done < cycles && (beyond || !ended_) && !*problem()) {
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
        for (int limit = 0; limit < 1000 && !*problem(); ++limit) {
            dut_->s_axil_awvalid = aw;
            dut_->s_axil_wvalid = w;
            dut_->s_axil_bready = 1;
            settle();
            const bool aw_taken = aw && dut_->s_axil_awready, w_taken = w && dut_->s_axil_wready;
            const bool answered = dut_->s_axil_bvalid;
            const int response = dut_->s_axil_bresp;
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
        for (int limit = 0; limit < 1000 && !*problem(); ++limit) {
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
#if BENCH_WAVE != BENCH_NO_WAVE
        wave_ = std::make_unique<Wave>();
        dut_->trace(wave_.get(), 99);
        wave_->open(path);
#else
        (void)path;
#endif
    }

    void wave_close() {
#if BENCH_WAVE != BENCH_NO_WAVE
        if (wave_) wave_->close();
        wave_.reset();
#endif
    }

    const char* problem() const { return checker_.problem(); }
    bool ended() const { return ended_; }
    int64_t cycles() const { return running_cycles_; }
    int64_t count(int event) const { return count_[event]; }
    // Verilator holds `interrupt` for a reserved word.
    bool interrupt() const { return dut_->__SYM__interrupt; }
    bool idle() const { return memory_.idle(); }

  private:
    // ---- one cycle ------------------------------------------------------------------------------------------

    void cycle() {
        settle();
        finish();
    }

    void settle() {
        memory_.drive(*dut_, now_);
        dut_->clk = 0;
        dut_->eval();
    }

    void finish() {
#if BENCH_WAVE != BENCH_NO_WAVE
        const bool dump =
            wave_ && dut_->trace_running && running_cycles_ >= wave_first_ && running_cycles_ <= wave_last_;
#endif
        if (dut_->rst) {
            checker_.in_reset(*dut_);
        } else {
            checker_.sample(*dut_, running_cycles_);
            // What is wrong could lead the memory astray.
            if (!*problem()) memory_.sample(*dut_, now_);
            record();
        }
#if BENCH_WAVE != BENCH_NO_WAVE
        if (dump) wave_->dump(uint64_t(2 * now_));
#endif
        dut_->clk = 1;
        dut_->eval();
#if BENCH_WAVE != BENCH_NO_WAVE
        if (dump) wave_->dump(uint64_t(2 * now_ + 1));
#endif
        ++now_;
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
    Memory memory_;
    Checker checker_;
    int64_t now_ = 0;

    int64_t* events_[EVENTS] = {};
    int64_t capacity_[EVENTS] = {}, count_[EVENTS] = {};
    int64_t* causes_ = nullptr;
    int64_t cause_rows_ = 0, cause_row_ = 0, running_cycles_ = 0;
    bool was_running_ = false, ended_ = false;
    int64_t wave_first_ = 0, wave_last_ = -1;
#if BENCH_WAVE != BENCH_NO_WAVE
    std::unique_ptr<Wave> wave_;
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
