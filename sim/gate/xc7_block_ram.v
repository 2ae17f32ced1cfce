// The block RAMs of the 7 series, for netlists under Verilator: what UG473 ("7 Series FPGAs Memory Resources") says of
// simple and true dual port, widths, byte enables, write modes, output registers, resets and initial contents.
//
// Both ports must have one clock. Cascades, ECC, inverted clocks and ports whose read and write widths differ are
// refused when the simulation starts. Where the real one leaves a result undefined - a port reads what the other
// writes in the same cycle, and that one is not READ_FIRST - this gives the complement of the old bits: a design that
// relies on them does not pass.

// The array and its two ports (0 is A, 1 is B), in lanes of 8 data bits with their parity bit above them.
module vdla_block_ram #(
    parameter integer ADDRESS_BITS = 15,        // of a single data bit
    parameter integer LANES = 8,                // of the widest port
    parameter [1:0][31:0] WIDTH = 0,            // with parity: 1, 2, 4, 9, 18, 36, 72; 0 for an unused port
    parameter [1:0] READS = 0, WRITES = 0,      // whether the port does
    parameter [1:0] READ_FIRST = 0, NO_CHANGE = 0,  // neither: WRITE_FIRST
    parameter [1:0] REGISTERED = 0,
    parameter [1:0][9*LANES-1:0] START = 0, RESET = 0,
    parameter [(1<<ADDRESS_BITS)-1:0] DATA = 0,
    parameter [(1<<(ADDRESS_BITS-3))-1:0] PARITY = 0
) (
    input clk,
    input [1:0] enable, reset, register_enable, register_reset,
    input [1:0][ADDRESS_BITS-1:0] address,
    input [1:0][LANES-1:0] write,
    input [1:0][LANES-1:0][8:0] in,
    output [1:0][LANES-1:0][8:0] out
);
    localparam integer BYTES = 1 << (ADDRESS_BITS - 3);
    reg [8:0] bytes [0:BYTES-1];
    integer i;
    initial for (i = 0; i < BYTES; i = i + 1) bytes[i] = {PARITY[i], DATA[8*i +: 8]};

    // Each port's first byte, the bits of a byte that it takes (all, unless it is narrower), and the lanes it writes.
    wire [1:0][ADDRESS_BITS-4:0] first;
    wire [1:0][8:0] mask;
    wire [1:0][LANES-1:0] writing;

    for (genvar p = 0; p < 2; p = p + 1) begin : port
        localparam integer BITS = WIDTH[p];
        localparam integer STEP = BITS >= 9 ? BITS / 9 : 1;
        localparam [ADDRESS_BITS-1:0] WITHIN = BITS >= 9 ? 8 * STEP - 1 : BITS > 0 ? BITS - 1 : 0;
        wire [ADDRESS_BITS-1:0] place = address[p] & ~WITHIN;
        wire [2:0] bit_0 = BITS >= 9 ? 3'd0 : place[2:0];
        assign first[p] = place[ADDRESS_BITS-1:3];
        assign mask[p] = BITS >= 9 ? 9'h1ff : ((9'd1 << BITS) - 9'd1) << bit_0;
        assign writing[p] = WRITES[p] && enable[p] ? write[p] & ((1 << STEP) - 1) : {LANES{1'b0}};

        for (genvar k = 0; k < LANES; k = k + 1) begin : lane
            reg [8:0] latch = START[p][9*k +: 9];
            reg [8:0] held = START[p][9*k +: 9];
            assign out[p][k] = REGISTERED[p] ? held : latch;
            if (k < STEP && BITS > 0) begin : used
                wire [ADDRESS_BITS-4:0] at = first[p] + k;
                wire [ADDRESS_BITS-4:0] seen = at - first[1-p];
                wire other = seen < LANES && |(writing[1-p] & (1 << seen)) && !READ_FIRST[1-p];
                wire [8:0] old = bytes[at];
                wire [8:0] next = (old & ~mask[p]) | ((in[p][k] << bit_0) & mask[p]);
                wire [8:0] kept = old ^ (other ? mask[1-p] : 9'd0);
                wire [8:0] result = writing[p][k] && !READ_FIRST[p] ? next : kept;
                always @(posedge clk) begin
                    if (writing[p][k]) bytes[at] <= next;
                    if (READS[p] && enable[p]) begin
                        if (reset[p]) latch <= RESET[p][9*k +: 9];
                        else if (!NO_CHANGE[p] || !(|writing[p])) latch <= (result & mask[p]) >> bit_0;
                    end
                    if (register_reset[p]) held <= RESET[p][9*k +: 9];
                    else if (register_enable[p]) held <= latch;
                end
            end
        end
    end
endmodule

module RAMB18E1 #(
    parameter integer DOA_REG = 0, DOB_REG = 0,
    parameter integer READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0,
    parameter RAM_MODE = "TDP", WRITE_MODE_A = "WRITE_FIRST", WRITE_MODE_B = "WRITE_FIRST",
    parameter RSTREG_PRIORITY_A = "RSTREG", RSTREG_PRIORITY_B = "RSTREG",
    parameter RDADDR_COLLISION_HWCONFIG = "DELAYED_WRITE", SIM_COLLISION_CHECK = "ALL", SIM_DEVICE = "7SERIES",
    parameter INIT_FILE = "NONE",
    parameter [0:0] IS_CLKARDCLK_INVERTED = 0, IS_CLKBWRCLK_INVERTED = 0, IS_ENARDEN_INVERTED = 0,
    parameter [0:0] IS_ENBWREN_INVERTED = 0, IS_RSTRAMARSTRAM_INVERTED = 0, IS_RSTRAMB_INVERTED = 0,
    parameter [0:0] IS_RSTREGARSTREG_INVERTED = 0, IS_RSTREGB_INVERTED = 0,
    parameter [17:0] INIT_A = 0, INIT_B = 0, SRVAL_A = 0, SRVAL_B = 0,
    parameter [255:0]
        INITP_00 = 0, INITP_01 = 0, INITP_02 = 0, INITP_03 = 0, INITP_04 = 0, INITP_05 = 0, INITP_06 = 0, INITP_07 = 0,
        INIT_00 = 0, INIT_01 = 0, INIT_02 = 0, INIT_03 = 0, INIT_04 = 0, INIT_05 = 0, INIT_06 = 0, INIT_07 = 0,
        INIT_08 = 0, INIT_09 = 0, INIT_0A = 0, INIT_0B = 0, INIT_0C = 0, INIT_0D = 0, INIT_0E = 0, INIT_0F = 0,
        INIT_10 = 0, INIT_11 = 0, INIT_12 = 0, INIT_13 = 0, INIT_14 = 0, INIT_15 = 0, INIT_16 = 0, INIT_17 = 0,
        INIT_18 = 0, INIT_19 = 0, INIT_1A = 0, INIT_1B = 0, INIT_1C = 0, INIT_1D = 0, INIT_1E = 0, INIT_1F = 0,
        INIT_20 = 0, INIT_21 = 0, INIT_22 = 0, INIT_23 = 0, INIT_24 = 0, INIT_25 = 0, INIT_26 = 0, INIT_27 = 0,
        INIT_28 = 0, INIT_29 = 0, INIT_2A = 0, INIT_2B = 0, INIT_2C = 0, INIT_2D = 0, INIT_2E = 0, INIT_2F = 0,
        INIT_30 = 0, INIT_31 = 0, INIT_32 = 0, INIT_33 = 0, INIT_34 = 0, INIT_35 = 0, INIT_36 = 0, INIT_37 = 0,
        INIT_38 = 0, INIT_39 = 0, INIT_3A = 0, INIT_3B = 0, INIT_3C = 0, INIT_3D = 0, INIT_3E = 0, INIT_3F = 0
) (
    input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
    input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
    input [13:0] ADDRARDADDR, ADDRBWRADDR,
    input [15:0] DIADI, DIBDI,
    input [1:0] DIPADIP, DIPBDIP, WEA,
    input [3:0] WEBWE,
    output [15:0] DOADO, DOBDO,
    output [1:0] DOPADOP, DOPBDOP
);
    // In simple dual port mode A reads and B writes, and at full width each has the data pins of both.
    localparam SIMPLE = RAM_MODE == "SDP";
    localparam WIDE = SIMPLE && WRITE_WIDTH_B == 36;
    localparam integer WIDTH_A = READ_WIDTH_A > 0 ? READ_WIDTH_A : WRITE_WIDTH_A;
    localparam integer WIDTH_B = WRITE_WIDTH_B > 0 ? WRITE_WIDTH_B : READ_WIDTH_B;
    initial begin
        if (READ_WIDTH_A > 0 && WRITE_WIDTH_A > 0 && READ_WIDTH_A != WRITE_WIDTH_A
            || READ_WIDTH_B > 0 && WRITE_WIDTH_B > 0 && READ_WIDTH_B != WRITE_WIDTH_B)
            $fatal(1, "RAMB18E1: a port reads and writes at different widths");
        if (IS_CLKARDCLK_INVERTED || IS_CLKBWRCLK_INVERTED
            || INIT_FILE != "NONE")
            $fatal(1, "RAMB18E1: an inverted clock, a cascade, ECC or a file of initial contents");
    end

    wire [1:0][3:0][8:0] in, out;
    for (genvar k = 0; k < 4; k = k + 1) begin : lane
        if (k < 2) begin : low
            assign in[0][k] = {DIPADIP[k], DIADI[8*k +: 8]};
            assign in[1][k] = WIDE ? {DIPADIP[k], DIADI[8*k +: 8]} : {DIPBDIP[k], DIBDI[8*k +: 8]};
            assign {DOPADOP[k], DOADO[8*k +: 8]} = out[0][k];
            assign {DOPBDOP[k], DOBDO[8*k +: 8]} = SIMPLE ? out[0][k + 2] : out[1][k];
        end else begin : high
            assign in[0][k] = 9'd0;
            assign in[1][k] = {DIPBDIP[k - 2], DIBDI[8*(k - 2) +: 8]};
        end
    end

    // INIT_ and SRVAL_ hold the parity bits above all data bits of a port.
    function automatic [17:0] lanes(input [17:0] value, input integer width);
        for (integer k = 0; k < 2; k = k + 1)
            lanes[9*k +: 9] = {width >= 9 && 9 * k < width ? value[(width / 9 * 8 + k) % 18] : 1'b0, value[8*k +: 8]};
    endfunction
    localparam integer HALF_A = WIDTH_A > 18 ? 18 : WIDTH_A, HALF_B = SIMPLE ? HALF_A : WIDTH_B;

    vdla_block_ram #(
        .ADDRESS_BITS(14), .LANES(4), .WIDTH({WIDTH_B, WIDTH_A}),
        .READS({READ_WIDTH_B > 0, READ_WIDTH_A > 0}), .WRITES({WRITE_WIDTH_B > 0, WRITE_WIDTH_A > 0}),
        .READ_FIRST({WRITE_MODE_B == "READ_FIRST", WRITE_MODE_A == "READ_FIRST"}),
        .NO_CHANGE({WRITE_MODE_B == "NO_CHANGE", WRITE_MODE_A == "NO_CHANGE"}),
        .REGISTERED({DOB_REG != 0, DOA_REG != 0}),
        .START({18'd0, lanes(INIT_B, HALF_B), lanes(INIT_B, HALF_B), lanes(INIT_A, HALF_A)}),
        .RESET({18'd0, lanes(SRVAL_B, HALF_B), lanes(SRVAL_B, HALF_B), lanes(SRVAL_A, HALF_A)}),
        .PARITY({
            INITP_07, INITP_06, INITP_05, INITP_04, INITP_03, INITP_02, INITP_01, INITP_00
        }),
        .DATA({
            INIT_3F, INIT_3E, INIT_3D, INIT_3C, INIT_3B, INIT_3A, INIT_39, INIT_38, INIT_37, INIT_36, INIT_35, INIT_34,
            INIT_33, INIT_32, INIT_31, INIT_30, INIT_2F, INIT_2E, INIT_2D, INIT_2C, INIT_2B, INIT_2A, INIT_29, INIT_28,
            INIT_27, INIT_26, INIT_25, INIT_24, INIT_23, INIT_22, INIT_21, INIT_20, INIT_1F, INIT_1E, INIT_1D, INIT_1C,
            INIT_1B, INIT_1A, INIT_19, INIT_18, INIT_17, INIT_16, INIT_15, INIT_14, INIT_13, INIT_12, INIT_11, INIT_10,
            INIT_0F, INIT_0E, INIT_0D, INIT_0C, INIT_0B, INIT_0A, INIT_09, INIT_08, INIT_07, INIT_06, INIT_05, INIT_04,
            INIT_03, INIT_02, INIT_01, INIT_00
        })
    ) ram (
        .clk(CLKARDCLK),
        .enable({ENBWREN ^ IS_ENBWREN_INVERTED, ENARDEN ^ IS_ENARDEN_INVERTED}),
        .reset({RSTRAMB ^ IS_RSTRAMB_INVERTED, RSTRAMARSTRAM ^ IS_RSTRAMARSTRAM_INVERTED}),
        .register_enable({REGCEB, REGCEAREGCE}),
        .register_reset({RSTREGB ^ IS_RSTREGB_INVERTED, RSTREGARSTREG ^ IS_RSTREGARSTREG_INVERTED}),
        .address({ADDRBWRADDR[13:0], ADDRARDADDR[13:0]}),
        .write({WEBWE, 2'd0, WEA}),
        .in(in), .out(out)
    );
endmodule

module RAMB36E1 #(
    parameter integer DOA_REG = 0, DOB_REG = 0,
    parameter integer READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0,
    parameter RAM_MODE = "TDP", WRITE_MODE_A = "WRITE_FIRST", WRITE_MODE_B = "WRITE_FIRST",
    parameter RSTREG_PRIORITY_A = "RSTREG", RSTREG_PRIORITY_B = "RSTREG",
    parameter RDADDR_COLLISION_HWCONFIG = "DELAYED_WRITE", SIM_COLLISION_CHECK = "ALL", SIM_DEVICE = "7SERIES",
    parameter INIT_FILE = "NONE",
    parameter EN_ECC_READ = "FALSE", EN_ECC_WRITE = "FALSE", RAM_EXTENSION_A = "NONE", RAM_EXTENSION_B = "NONE",
    parameter [0:0] IS_CLKARDCLK_INVERTED = 0, IS_CLKBWRCLK_INVERTED = 0, IS_ENARDEN_INVERTED = 0,
    parameter [0:0] IS_ENBWREN_INVERTED = 0, IS_RSTRAMARSTRAM_INVERTED = 0, IS_RSTRAMB_INVERTED = 0,
    parameter [0:0] IS_RSTREGARSTREG_INVERTED = 0, IS_RSTREGB_INVERTED = 0,
    parameter [35:0] INIT_A = 0, INIT_B = 0, SRVAL_A = 0, SRVAL_B = 0,
    parameter [255:0]
        INITP_00 = 0, INITP_01 = 0, INITP_02 = 0, INITP_03 = 0, INITP_04 = 0, INITP_05 = 0, INITP_06 = 0, INITP_07 = 0,
        INITP_08 = 0, INITP_09 = 0, INITP_0A = 0, INITP_0B = 0, INITP_0C = 0, INITP_0D = 0, INITP_0E = 0, INITP_0F = 0,
        INIT_00 = 0, INIT_01 = 0, INIT_02 = 0, INIT_03 = 0, INIT_04 = 0, INIT_05 = 0, INIT_06 = 0, INIT_07 = 0,
        INIT_08 = 0, INIT_09 = 0, INIT_0A = 0, INIT_0B = 0, INIT_0C = 0, INIT_0D = 0, INIT_0E = 0, INIT_0F = 0,
        INIT_10 = 0, INIT_11 = 0, INIT_12 = 0, INIT_13 = 0, INIT_14 = 0, INIT_15 = 0, INIT_16 = 0, INIT_17 = 0,
        INIT_18 = 0, INIT_19 = 0, INIT_1A = 0, INIT_1B = 0, INIT_1C = 0, INIT_1D = 0, INIT_1E = 0, INIT_1F = 0,
        INIT_20 = 0, INIT_21 = 0, INIT_22 = 0, INIT_23 = 0, INIT_24 = 0, INIT_25 = 0, INIT_26 = 0, INIT_27 = 0,
        INIT_28 = 0, INIT_29 = 0, INIT_2A = 0, INIT_2B = 0, INIT_2C = 0, INIT_2D = 0, INIT_2E = 0, INIT_2F = 0,
        INIT_30 = 0, INIT_31 = 0, INIT_32 = 0, INIT_33 = 0, INIT_34 = 0, INIT_35 = 0, INIT_36 = 0, INIT_37 = 0,
        INIT_38 = 0, INIT_39 = 0, INIT_3A = 0, INIT_3B = 0, INIT_3C = 0, INIT_3D = 0, INIT_3E = 0, INIT_3F = 0,
        INIT_40 = 0, INIT_41 = 0, INIT_42 = 0, INIT_43 = 0, INIT_44 = 0, INIT_45 = 0, INIT_46 = 0, INIT_47 = 0,
        INIT_48 = 0, INIT_49 = 0, INIT_4A = 0, INIT_4B = 0, INIT_4C = 0, INIT_4D = 0, INIT_4E = 0, INIT_4F = 0,
        INIT_50 = 0, INIT_51 = 0, INIT_52 = 0, INIT_53 = 0, INIT_54 = 0, INIT_55 = 0, INIT_56 = 0, INIT_57 = 0,
        INIT_58 = 0, INIT_59 = 0, INIT_5A = 0, INIT_5B = 0, INIT_5C = 0, INIT_5D = 0, INIT_5E = 0, INIT_5F = 0,
        INIT_60 = 0, INIT_61 = 0, INIT_62 = 0, INIT_63 = 0, INIT_64 = 0, INIT_65 = 0, INIT_66 = 0, INIT_67 = 0,
        INIT_68 = 0, INIT_69 = 0, INIT_6A = 0, INIT_6B = 0, INIT_6C = 0, INIT_6D = 0, INIT_6E = 0, INIT_6F = 0,
        INIT_70 = 0, INIT_71 = 0, INIT_72 = 0, INIT_73 = 0, INIT_74 = 0, INIT_75 = 0, INIT_76 = 0, INIT_77 = 0,
        INIT_78 = 0, INIT_79 = 0, INIT_7A = 0, INIT_7B = 0, INIT_7C = 0, INIT_7D = 0, INIT_7E = 0, INIT_7F = 0
) (
    input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, REGCEAREGCE, REGCEB,
    input RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
    input CASCADEINA, CASCADEINB, INJECTDBITERR, INJECTSBITERR,
    output CASCADEOUTA, CASCADEOUTB, SBITERR, DBITERR,
    output [7:0] ECCPARITY,
    output [8:0] RDADDRECC,
    input [15:0] ADDRARDADDR, ADDRBWRADDR,
    input [31:0] DIADI, DIBDI,
    input [3:0] DIPADIP, DIPBDIP, WEA,
    input [7:0] WEBWE,
    output [31:0] DOADO, DOBDO,
    output [3:0] DOPADOP, DOPBDOP
);
    // In simple dual port mode A reads and B writes, and at full width each has the data pins of both.
    localparam SIMPLE = RAM_MODE == "SDP";
    localparam WIDE = SIMPLE && WRITE_WIDTH_B == 72;
    localparam integer WIDTH_A = READ_WIDTH_A > 0 ? READ_WIDTH_A : WRITE_WIDTH_A;
    localparam integer WIDTH_B = WRITE_WIDTH_B > 0 ? WRITE_WIDTH_B : READ_WIDTH_B;
    initial begin
        if (READ_WIDTH_A > 0 && WRITE_WIDTH_A > 0 && READ_WIDTH_A != WRITE_WIDTH_A
            || READ_WIDTH_B > 0 && WRITE_WIDTH_B > 0 && READ_WIDTH_B != WRITE_WIDTH_B)
            $fatal(1, "RAMB36E1: a port reads and writes at different widths");
        if (IS_CLKARDCLK_INVERTED || IS_CLKBWRCLK_INVERTED || EN_ECC_READ != "FALSE" || EN_ECC_WRITE != "FALSE"
            || RAM_EXTENSION_A != "NONE" || RAM_EXTENSION_B != "NONE"
            || INIT_FILE != "NONE")
            $fatal(1, "RAMB36E1: an inverted clock, a cascade, ECC or a file of initial contents");
    end

    wire [1:0][7:0][8:0] in, out;
    for (genvar k = 0; k < 8; k = k + 1) begin : lane
        if (k < 4) begin : low
            assign in[0][k] = {DIPADIP[k], DIADI[8*k +: 8]};
            assign in[1][k] = WIDE ? {DIPADIP[k], DIADI[8*k +: 8]} : {DIPBDIP[k], DIBDI[8*k +: 8]};
            assign {DOPADOP[k], DOADO[8*k +: 8]} = out[0][k];
            assign {DOPBDOP[k], DOBDO[8*k +: 8]} = SIMPLE ? out[0][k + 4] : out[1][k];
        end else begin : high
            assign in[0][k] = 9'd0;
            assign in[1][k] = {DIPBDIP[k - 4], DIBDI[8*(k - 4) +: 8]};
        end
    end

    // INIT_ and SRVAL_ hold the parity bits above all data bits of a port.
    function automatic [35:0] lanes(input [35:0] value, input integer width);
        for (integer k = 0; k < 4; k = k + 1)
            lanes[9*k +: 9] = {width >= 9 && 9 * k < width ? value[(width / 9 * 8 + k) % 36] : 1'b0, value[8*k +: 8]};
    endfunction
    localparam integer HALF_A = WIDTH_A > 36 ? 36 : WIDTH_A, HALF_B = SIMPLE ? HALF_A : WIDTH_B;

    vdla_block_ram #(
        .ADDRESS_BITS(15), .LANES(8), .WIDTH({WIDTH_B, WIDTH_A}),
        .READS({READ_WIDTH_B > 0, READ_WIDTH_A > 0}), .WRITES({WRITE_WIDTH_B > 0, WRITE_WIDTH_A > 0}),
        .READ_FIRST({WRITE_MODE_B == "READ_FIRST", WRITE_MODE_A == "READ_FIRST"}),
        .NO_CHANGE({WRITE_MODE_B == "NO_CHANGE", WRITE_MODE_A == "NO_CHANGE"}),
        .REGISTERED({DOB_REG != 0, DOA_REG != 0}),
        .START({36'd0, lanes(INIT_B, HALF_B), lanes(INIT_B, HALF_B), lanes(INIT_A, HALF_A)}),
        .RESET({36'd0, lanes(SRVAL_B, HALF_B), lanes(SRVAL_B, HALF_B), lanes(SRVAL_A, HALF_A)}),
        .PARITY({
            INITP_0F, INITP_0E, INITP_0D, INITP_0C, INITP_0B, INITP_0A, INITP_09, INITP_08,
            INITP_07, INITP_06, INITP_05, INITP_04, INITP_03, INITP_02, INITP_01, INITP_00
        }),
        .DATA({
            INIT_7F, INIT_7E, INIT_7D, INIT_7C, INIT_7B, INIT_7A, INIT_79, INIT_78, INIT_77, INIT_76, INIT_75, INIT_74,
            INIT_73, INIT_72, INIT_71, INIT_70, INIT_6F, INIT_6E, INIT_6D, INIT_6C, INIT_6B, INIT_6A, INIT_69, INIT_68,
            INIT_67, INIT_66, INIT_65, INIT_64, INIT_63, INIT_62, INIT_61, INIT_60, INIT_5F, INIT_5E, INIT_5D, INIT_5C,
            INIT_5B, INIT_5A, INIT_59, INIT_58, INIT_57, INIT_56, INIT_55, INIT_54, INIT_53, INIT_52, INIT_51, INIT_50,
            INIT_4F, INIT_4E, INIT_4D, INIT_4C, INIT_4B, INIT_4A, INIT_49, INIT_48, INIT_47, INIT_46, INIT_45, INIT_44,
            INIT_43, INIT_42, INIT_41, INIT_40, INIT_3F, INIT_3E, INIT_3D, INIT_3C, INIT_3B, INIT_3A, INIT_39, INIT_38,
            INIT_37, INIT_36, INIT_35, INIT_34, INIT_33, INIT_32, INIT_31, INIT_30, INIT_2F, INIT_2E, INIT_2D, INIT_2C,
            INIT_2B, INIT_2A, INIT_29, INIT_28, INIT_27, INIT_26, INIT_25, INIT_24, INIT_23, INIT_22, INIT_21, INIT_20,
            INIT_1F, INIT_1E, INIT_1D, INIT_1C, INIT_1B, INIT_1A, INIT_19, INIT_18, INIT_17, INIT_16, INIT_15, INIT_14,
            INIT_13, INIT_12, INIT_11, INIT_10, INIT_0F, INIT_0E, INIT_0D, INIT_0C, INIT_0B, INIT_0A, INIT_09, INIT_08,
            INIT_07, INIT_06, INIT_05, INIT_04, INIT_03, INIT_02, INIT_01, INIT_00
        })
    ) ram (
        .clk(CLKARDCLK),
        .enable({ENBWREN ^ IS_ENBWREN_INVERTED, ENARDEN ^ IS_ENARDEN_INVERTED}),
        .reset({RSTRAMB ^ IS_RSTRAMB_INVERTED, RSTRAMARSTRAM ^ IS_RSTRAMARSTRAM_INVERTED}),
        .register_enable({REGCEB, REGCEAREGCE}),
        .register_reset({RSTREGB ^ IS_RSTREGB_INVERTED, RSTREGARSTREG ^ IS_RSTREGARSTREG_INVERTED}),
        .address({ADDRBWRADDR[14:0], ADDRARDADDR[14:0]}),
        .write({WEBWE, 4'd0, WEA}),
        .in(in), .out(out)
    );
endmodule
