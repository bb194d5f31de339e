/* SPDX-License-Identifier: MIT */
/*
 * The XDP program as the file that net_af_xdp wants (xdp_prog=): a relocatable ELF object whose map
 * is described in BTF (Linux, "BPF Type Format"), as a compiler would make it. Control thread.
 */
#include <elf.h>
#include <errno.h>
#include <linux/btf.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xdp_prog.h"

#define SOCKETS	     1024u /* queues of an interface */
#define R_BPF_64_64  1	   /* BPF ABI: the address of a map */
#define POINTER_SIZE 8u
#define NUM_FIELDS   4u
#define MAP_SIZE     (NUM_FIELDS * POINTER_SIZE)

/* ---- BTF: struct { int (*type)[XSKMAP], (*key_size)[4], ...; } xsks_map; ---- */

struct btf_names {
	char none[1], integer[4], type[5], key_size[9], value_size[11], max_entries[12],
		xsks_map[9], maps[6];
};

/* A type's number is its place in the file, from 1 on. */
enum { T_INT = 1, T_ARRAY, T_POINTER = T_ARRAY + 3, T_MAP = T_POINTER + 3, T_VAR };

struct btf_array_type {
	struct btf_type type;
	struct btf_array array;
};

struct btf_file {
	struct btf_header head;
	struct btf_type integer;
	uint32_t integer_bits;
	struct btf_array_type array[3];
	struct btf_type pointer[3];
	struct btf_type map;
	struct btf_member member[NUM_FIELDS];
	struct btf_type var;
	struct btf_var linkage;
	struct btf_type section;
	struct btf_var_secinfo in_section;
	struct btf_names names;
};

#define BTF_TYPES	(offsetof(struct btf_file, names) - sizeof(struct btf_header))
#define BTF_NAME(field) offsetof(struct btf_names, field)
#define INFO(kind, num) ((unsigned)(kind) << 24 | (num))
#define ARRAY(length)                              \
	.type = {.info = INFO(BTF_KIND_ARRAY, 0)}, \
	.array = {.type = T_INT, .index_type = T_INT, .nelems = (length)}
#define POINTER(to)	 .info = INFO(BTF_KIND_PTR, 0), .type = T_ARRAY + (to)
#define MEMBER(n, field) .name_off = BTF_NAME(field), .offset = (n)*POINTER_SIZE * 8

/* ---- ELF ---- */

struct elf_names {
	char none[1], strtab[8], symtab[8], xdp[4], rel[8], license[8], maps[6], btf[5], ff_xdp[7],
		xsks_map[9];
};

enum { S_NONE, S_STRTAB, S_SYMTAB, S_XDP, S_REL, S_LICENSE, S_MAPS, S_BTF, NUM_SECTIONS };
enum { Y_NONE, Y_FF_XDP, Y_XSKS_MAP, NUM_SYMBOLS };

struct elf_file {
	Elf64_Ehdr head;
	Elf64_Shdr section[NUM_SECTIONS];
	Elf64_Sym symbol[NUM_SYMBOLS];
	Elf64_Rel rel;
	struct bpf_insn insn[FRAME_PROG_MAX];
	uint64_t map[NUM_FIELDS];
	struct btf_file btf;
	char license[4];
	struct elf_names names;
};

#define ELF_NAME(field) offsetof(struct elf_names, field)
#define SECTION(name, kind, field, align)              \
	.sh_name = ELF_NAME(name), .sh_type = (kind),  \
	.sh_offset = offsetof(struct elf_file, field), \
	.sh_size = sizeof(((struct elf_file *)0)->field), .sh_addralign = (align)

static const struct elf_file empty = {
	.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT},
		 .e_type = ET_REL,
		 .e_machine = EM_BPF,
		 .e_version = EV_CURRENT,
		 .e_shoff = offsetof(struct elf_file, section),
		 .e_ehsize = sizeof(Elf64_Ehdr),
		 .e_shentsize = sizeof(Elf64_Shdr),
		 .e_shnum = NUM_SECTIONS,
		 .e_shstrndx = S_STRTAB},
	.section = {[S_STRTAB] = {SECTION(strtab, SHT_STRTAB, names, 1)},
		    [S_SYMTAB] = {SECTION(symtab, SHT_SYMTAB, symbol, 8), .sh_link = S_STRTAB,
				  .sh_info = Y_FF_XDP, .sh_entsize = sizeof(Elf64_Sym)},
		    [S_XDP] = {SECTION(xdp, SHT_PROGBITS, insn, 8),
			       .sh_flags = SHF_ALLOC | SHF_EXECINSTR},
		    [S_REL] = {SECTION(rel, SHT_REL, rel, 8), .sh_link = S_SYMTAB, .sh_info = S_XDP,
			       .sh_entsize = sizeof(Elf64_Rel)},
		    [S_LICENSE] = {SECTION(license, SHT_PROGBITS, license, 1),
				   .sh_flags = SHF_ALLOC | SHF_WRITE},
		    [S_MAPS] = {SECTION(maps, SHT_PROGBITS, map, 8),
				.sh_flags = SHF_ALLOC | SHF_WRITE},
		    [S_BTF] = {SECTION(btf, SHT_PROGBITS, btf, 4)}},
	.symbol = {[Y_FF_XDP] = {.st_name = ELF_NAME(ff_xdp),
				 .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
				 .st_shndx = S_XDP},
		   [Y_XSKS_MAP] = {.st_name = ELF_NAME(xsks_map),
				   .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
				   .st_shndx = S_MAPS,
				   .st_size = MAP_SIZE}},
	.btf = {.head = {.magic = 0xeb9f,
			 .version = 1,
			 .hdr_len = sizeof(struct btf_header),
			 .type_len = BTF_TYPES,
			 .str_off = BTF_TYPES,
			 .str_len = sizeof(struct btf_file) - offsetof(struct btf_file, names)},
		.integer = {.name_off = BTF_NAME(integer),
			    .info = INFO(BTF_KIND_INT, 0),
			    .size = 4},
		.integer_bits = BTF_INT_SIGNED << 24 | 32,
		.array = {{ARRAY(BPF_MAP_TYPE_XSKMAP)}, {ARRAY(4)}, {ARRAY(SOCKETS)}},
		.pointer = {{POINTER(0)}, {POINTER(1)}, {POINTER(2)}},
		.map = {.info = INFO(BTF_KIND_STRUCT, NUM_FIELDS), .size = MAP_SIZE},
		.member = {{MEMBER(0, type), .type = T_POINTER},
			   {MEMBER(1, key_size), .type = T_POINTER + 1},
			   {MEMBER(2, value_size), .type = T_POINTER + 1},
			   {MEMBER(3, max_entries), .type = T_POINTER + 2}},
		.var = {.name_off = BTF_NAME(xsks_map),
			.info = INFO(BTF_KIND_VAR, 0),
			.type = T_MAP},
		.linkage = {.linkage = BTF_VAR_GLOBAL_ALLOCATED},
		.section = {.name_off = BTF_NAME(maps),
			    .info = INFO(BTF_KIND_DATASEC, 1),
			    .size = MAP_SIZE},
		.in_section = {.type = T_VAR, .size = MAP_SIZE},
		.names = {"", "int", "type", "key_size", "value_size", "max_entries", "xsks_map",
			  ".maps"}},
	.license = "MIT",
	.names = {"", ".strtab", ".symtab", "xdp", ".relxdp", "license", ".maps", ".BTF", "ff_xdp",
		  "xsks_map"},
};

int
ff_xdp_object(const struct frame_prog *prog)
{
	struct elf_file f = empty;
	size_t size = prog->num * sizeof(prog->insn[0]);
	int fd = memfd_create("ff_xdp", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	memcpy(f.insn, prog->insn, size);
	f.section[S_XDP].sh_size = f.symbol[Y_FF_XDP].st_size = size;
	f.rel.r_offset = prog->map * sizeof(prog->insn[0]);
	f.rel.r_info = ELF64_R_INFO(Y_XSKS_MAP, R_BPF_64_64);
	if (write(fd, &f, sizeof(f)) != (ssize_t)sizeof(f)) {
		close(fd);
		return -EIO;
	}
	return fd;
}
