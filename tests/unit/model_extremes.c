/*
 * model_extremes.c: the purchase models over all the parameters and histories that can be asked
 * for.
 *
 * Every parameter takes every one of its values together with every value of
 * the others; the histories, which would make that billions, take turns.
 */
#include "model_invariants.h"

/* Histories for each set of parameters; the discounted orders of how many customers. */
#define HISTORIES_EACH 8
#define DISCOUNTS 2000

static const double sizes[] = {1e-6, 1e-3, 0.5, 1, 2, 1e3, 1e6, 1 - 1e-9, 1 + 1e-9};
static const double purchases[] = {0, 1, 2, 10, 100, 1000, 10000, 100000};
static const double ages[] = {1.0 / 24, 1, 30, 365.25, 3652.5, 36525};
static const double last[] = {1e-12, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-9, 1};
static const double horizons[] = {1e-3, 0.5, 7, 30, 365, 3650, 1e5};

/* Numbers by arithmetic of 28 digits and more, independent of the code. */
typedef struct Known
{
	const char *name;
	double		parameters[MODEL_MAX_PARAMETERS];
	PurchaseHistory history;
	double		horizon;
	double		rate;
	double		log_likelihood;
	double		log_odds;
	double		orders;			/* of a customer who is alive */
	double		probability;
	double		discounted;		/* given the history; NAN where it is not known */
} Known;

/* Where published formulas, other packages, or earlier versions of this one fail. */
static const Known known[] = {
	{"bgnbd", {0.2426, 4.4135, 0.3, 0.4}, {0, 0, 38.86}, 39, 0.0027,
		-0.55382484737883626, -INFINITY, 0.18309917186844547, 0.14433179790196457, NAN},
	{"bgnbd", {1.5, 4.4135, 0.001, 0.002}, {0, 0, 38.86}, 520, 0.0027,
		-3.4243086194074788, -INFINITY, 12.311002966622593, 0.97870615666302205, NAN},
	{"bgnbd", {0.2426, 4.4135, 0.7929, 2.4258}, {2000, 38, 38.86}, 39, 0.0027,
		5690.7741482179541, 32.318657871726028, 1374.8877469876652, 1, NAN},
	{"bgnbd", {0.2426, 4.4135, 0.7929, 2.4258}, {5000, 30, 38.86}, 520, 0.0027,
		19875.796974378924, 1136.7635869297432, 16938.822180605462, 1, NAN},
	{"bgnbd", {0.2426, 4.4135, 0.7929, 2.4258}, {500, 10, 104}, 52, 0.0027,
		1260.2233163188129, 1002.9336776993777, 204.278732406087, 1, NAN},
	{"bgnbd", {0.2426, 4.4135, 0.7929, 2.4258}, {100000, 36525, 36525}, 1e5, 0.0003,
		691.2289053449069, -11.744997891572368, 151599.58253013517, 1, NAN},
	{"bgnbd", {0.6, 22, 1, 1e-6}, {1, 3, 40}, 365, 0.02,
		-3.8064022377219893, 15.268724254247299, 2.5073880827406127, 0.95438138422518825, NAN},
	{"bgnbd", {1, 1e-6, 1000, 1e-6}, {0, 0, 30}, 365, 0.02,
		-17.216707972959762, -INFINITY, 0.92405063142668298, 0.92405063057202372, NAN},
	{"bgnbd", {1e6, 1, 1e6, 1e6}, {2, 18354.25, 18354.25}, 26.5, 0.02,
		-9817663.6135720337, -9.9999950000033333e-7, 2.000003000003, 1, NAN},
	{"bgnbd", {0.6, 22, 1 + 1e-9, 3}, {0, 0, 0}, 3650, 0.02,
		0, -INFINITY, 8.6876899030090101, 0.9536006384261679, NAN},
	{"bgnbd", {0.6, 22, 0.25, 0.75}, {0, 0, 30}, 3650, 0.02,
		-0.51612075913386688, -INFINITY, 15.686524951998717, 0.92263577888297085, NAN},
	{"bgnbd", {45, 22, 0.8, 2.4}, {0, 0, 30}, 365, 0.02,
		-38.709056935040018, -INFINITY, 19.820083896099782, 1, NAN},
	{"mbgnbd", {0.5248, 6.183, 0.8914, 1.614}, {500, 38, 38.86}, 520, 0.0027,
		701.20762899530949, 3.3160685871916296, 1460.2737532535935, 1, NAN},
	{"mbgnbd", {0.5248, 6.183, 0.8914, 1.614}, {500, 400, 520}, 520, 0.0027,
		-409.22412146511769, 123.22568108198069, 357.50139140116316, 1, NAN},
	{"mbgnbd", {0.09, 0.0034, 16.14, 1e-6}, {0, 0, 8}, 0.2, 0.02,
		-3.1151898840629719e-8, 17.295557387693841, 0.0022206669507023018, 0.0022189371089999699,
		NAN},
	{"mbgnbd", {30, 5e-5, 1433.5, 25}, {1, 0.25, 0.25}, 0.7, 0.02,
		-254.8007913442273, 4.0097777473019425, 1.018848167539267, 1, NAN},
	{"mbgnbd", {2, 30, 1, 1}, {7, 100, 200}, 365, 0.0003,
		-30.631453164896583, 3.0554621845286807, 8.5543388696019095, 0.99980729284820336, NAN},
	{"paretonbd", {0.5533, 10.578, 0.6062, 11.668}, {221, 38, 38.86}, 39, 0.0027,
		109.04679498645663, -2.0481064083044303, 145.27691333475116, 0.99732977860847435,
		122.50643412466834},
	{"paretonbd", {0.5533, 10.578, 0.6062, 11.668}, {5000, 10, 104}, 52, 0.0027,
		22455.938820044615, 8578.0621322177773, 2018.1090048735978, 0.99987992998869752, 0},
	{"paretonbd", {0.55, 10.5, 20, 1e7}, {2, 30.43, 38.86}, 520, 0.0027,
		-8.8091899153468151, -10.749735121961228, 26.84989330613918, 0.99798153335974479,
		14.428187606867815},
	{"paretonbd", {0.55, 10.5, 1e6, 1e6}, {2, 30.43, 38.86}, 520, 0.0027,
		-38.820252046674586, 8.8479829085203945, 0.051663323401572998, 0.048255979342099277,
		7.4014827797122773e-6},
	{"paretonbd", {0.6, 1000, 2.2, 1}, {0, 0, 0}, 365, 0.02,
		0, -INFINITY, 4.9958044132822857e-4, 4.9719351634412813e-4, 4.7589414925606426e-4},
	{"paretonbd", {0.6, 30, 0.6, 0.001}, {0, 0, 0}, 365, 0.02,
		0, -INFINITY, 0.0083424280387225779, 0.0027185812416600239, 0.0033118783528842463},
	{"paretonbd", {0.6, 0.001, 0.6, 1e6}, {10000, 36525, 36525}, 365, 0.02,
		-22963.146813955673, -INFINITY, 99.926991322751567, 0.99999788565122349,
		13.680432761199159},
	{"paretonbd", {1e6, 1e6, 1e-6, 1e-6}, {0, 0, 36525}, 365, 0.02,
		-11.232402368220516, 35862.539858158161, 352.13815217413375, 0.99999999997162227, 0},
	{"paretonbd", {1, 0.001, 1e6, 1e6}, {2, 0.005, 0.0416}, 365, 0.02,
		3.9471085922435389, 0.083202691256043992, 70.422608563453637, 0.97950166577428367,
		33.085597814567781},
	{"paretonbd", {0.6, 30, 1, 30}, {3, 50, 400}, 365, 0.02,
		-15.325202402140565, 6.2095962652741719, 2.2124048614802056, 0.73628419219186351,
		7.5897073613341136e-4},
	{"paretonbd", {0.6, 30, 1 - 1e-9, 80}, {3, 50, 400}, 365, 0.02,
		-15.158701889057307, 5.5032110554414219, 2.2727239646674374, 0.74847077530155321,
		0.001549374874723385}
};

#define COUNT(array) (int) (sizeof(array) / sizeof((array)[0]))

/* A parameter takes a value near 1 only where that is a special one: the dropout's shape. */
#define ORDINARY_SIZES (COUNT(sizes) - 2)

/* Histories in turn: x, then its time, then the age. */
static PurchaseHistory
history_number(uint64_t number)
{
	PurchaseHistory history;

	history.x = purchases[number % COUNT(purchases)];
	number /= COUNT(purchases);
	history.t = ages[number / COUNT(last) % COUNT(ages)];
	history.t_x = history.x == 0 ? 0 : history.t * last[number % COUNT(last)];
	return history;
}

/* Some of the horizons, so that all of them get their turn. */
static void
check_history(const Model *model, const double *parameters, const PurchaseHistory *history,
			  uint64_t turn)
{
	Question	question = {model, parameters, history};
	int			from = (int) (turn % (COUNT(horizons) - 2));

	check_customer(&question, horizons + from, 3);
	check_derivatives(&question);
}

/* Relative, or absolute for a logarithm near 0. */
static bool
is_near(double logarithm, double expected, double tolerance)
{
	return logarithm == expected || fabs(logarithm - expected) <= tolerance * (1 + fabs(expected));
}

/* A likelihood sums many terms, which cancel, and so is less exact than the predictions. */
static void
check_known(const Known *row)
{
	const Model *model = model_named(row->name);
	Question	question = {model, row->parameters, &row->history, row->horizon};
	double		orders =
		model->expected_orders(model, row->parameters, &row->history, row->horizon);
	double		probability =
		model->order_probability(model, row->parameters, &row->history, row->horizon);
	double		odds = model->dropout_log_odds(model, row->parameters, &row->history);
	double		likelihood = model->log_likelihood(model, row->parameters, &row->history);
	double		discounted;

	if (!is_close(orders, row->orders, 1e-12) || !is_close(probability, row->probability, 1e-12) ||
		!is_near(odds, row->log_odds, 1e-12) || !is_near(likelihood, row->log_likelihood, 1e-11))
		question_failed(&question, __FILE__, __LINE__, "known numbers");
	if (model_discounted_orders(model, row->parameters, &row->history, row->horizon, row->rate,
								&NO_HOST, &discounted) != MATH_OK ||
		!(isnan(row->discounted) || is_close(discounted, row->discounted, 1e-11)))
		question_failed(&question, __FILE__, __LINE__, "known discounted orders");
	check_customer(&question, horizons, COUNT(horizons));
	check_derivatives(&question);
}

/*
 * All parameters; a prime step through the histories, so that no pattern of theirs meets one of the
 * parameters.
 */
static void
check_grid(const Model *model)
{
	static uint64_t turn = 0;

	for (int i = 0; i < ORDINARY_SIZES * ORDINARY_SIZES * ORDINARY_SIZES * COUNT(sizes); i++)
	{
		double		parameters[MODEL_MAX_PARAMETERS];

		parameters[2] = sizes[i % COUNT(sizes)];
		parameters[0] = sizes[i / COUNT(sizes) % ORDINARY_SIZES];
		parameters[1] = sizes[i / COUNT(sizes) / ORDINARY_SIZES % ORDINARY_SIZES];
		parameters[3] = sizes[i / COUNT(sizes) / ORDINARY_SIZES / ORDINARY_SIZES];
		for (int j = 0; j < HISTORIES_EACH; j++, turn++)
		{
			PurchaseHistory history = history_number(turn * 7919);

			check_history(model, parameters, &history, turn);
		}
	}
}

/* Every history and horizon, for parameters such as shops have and such as are singular. */
static void
check_histories(const Model *model)
{
	static const double sets[][MODEL_MAX_PARAMETERS] = {
		{0.5, 30, 1, 3}, {2, 4, 0.2, 0.3}, {0.8, 1000, 1 + 1e-9, 1000}, {1e-3, 1, 5, 1e-3}
	};

	for (int i = 0; i < COUNT(sets); i++)
	{
		for (uint64_t j = 0; j < COUNT(purchases) * COUNT(last) * COUNT(ages); j++)
		{
			PurchaseHistory history = history_number(j);
			Question	question = {model, sets[i], &history};

			check_customer(&question, horizons, COUNT(horizons));
			check_derivatives(&question);
		}
	}
}

/* Discounting takes an integral of its own, so there are fewer of these. */
static void
check_discounts(const Model *model)
{
	for (uint64_t i = 0; i < DISCOUNTS; i++)
	{
		double		parameters[MODEL_MAX_PARAMETERS];
		PurchaseHistory history = history_number(i * 7919);
		Question	question = {model, parameters, &history};

		for (int j = 0; j < MODEL_MAX_PARAMETERS; j++)
			parameters[j] = sizes[check_between(0, COUNT(sizes) - 1)];
		check_discounted(&question, horizons[i % COUNT(horizons)]);
	}
}

int
main(void)
{
	for (int i = 0; i < COUNT(known); i++)
		check_known(&known[i]);
	for (int i = 0; i < PURCHASE_MODELS; i++)
	{
		const Model *model = model_named(purchase_models[i]);

		check_histories(model);
		check_grid(model);
		check_discounts(model);
	}
	return 0;
}
